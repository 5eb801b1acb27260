// The Cook-Toom transforms of the convolution over the rows above, and their groups of products: see AboveTask.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "../kernels.h"

namespace latentloop {

// F(m, k): m outputs of a correlation with k taps from m + k - 1 products: out = A^T [(G taps) * (B^T inputs)].
// For k other than 3, 5 and 7 the tile is m = 1, which is the direct form.
struct CookToom {
  size_t tile, kernel, points;
  std::vector<double> taps;    // G [points, k]
  std::vector<float> inputs;   // B^T [points, points]
  std::vector<float> outputs;  // A^T [m, points]

  explicit CookToom(size_t k) : tile(k == 3 || k == 5 ? 4 : k == 7 ? 2 : 1), kernel(k), points(tile + k - 1) {
    taps.assign(points * k, 0);
    inputs.assign(points * points, 0);
    outputs.assign(tile * points, 0);
    if (tile == 1) {
      for (size_t j = 0; j < k; ++j) taps[j * k + j] = inputs[j * k + j] = outputs[j] = 1;
      return;
    }
    constexpr std::array<double, 7> kPoints{0, 1, -1, 2, -2, 0.5, -0.5};  // and infinity
    const size_t finite = points - 1;
    for (size_t j = 0; j < points; ++j) {
      // Row j of B^T: the coefficients of the polynomial product of (x - q) over the other finite points q. For the
      // point at infinity: over all finite points.
      std::vector<double> product{1};
      double norm = 1;
      for (size_t q = 0; q < finite; ++q) {
        if (q == j) continue;
        product.push_back(0);
        for (size_t c = product.size() - 1; c > 0; --c) product[c] = product[c - 1] - kPoints[q] * product[c];
        product[0] *= -kPoints[q];
        if (j < finite) norm *= kPoints[j] - kPoints[q];
      }
      double largest = 0;
      for (size_t t = 0; t < k; ++t) {
        const double power = j < finite ? std::pow(kPoints[j], static_cast<double>(t)) : t == k - 1;
        taps[j * k + t] = power / norm;
        largest = std::fmax(largest, std::fabs(taps[j * k + t]));
      }
      // Balanced, so that no point amplifies rounding errors more than another.
      for (size_t t = 0; t < k; ++t) taps[j * k + t] /= largest;
      for (size_t c = 0; c < product.size(); ++c) inputs[j * points + c] = static_cast<float>(product[c] * largest);
      for (size_t m = 0; m < tile; ++m) {
        const double power = j < finite ? std::pow(kPoints[j], static_cast<double>(m)) : m == tile - 1;
        outputs[m * points + j] = static_cast<float>(power);
      }
    }
  }
};

// How the convolution over the k - 1 rows above is split into groups of products.
struct RowGroups {
  std::vector<AboveGroup> groups;         // those of a single row of outputs, or of the first row of a pair
  std::vector<std::vector<double>> taps;  // [packed groups, k - 1], coefficients of the weights' rows, by `index`

  // One group per row.
  static RowGroups single(size_t kernel) {
    RowGroups rows;
    for (size_t row = 0; row + 1 < kernel; ++row) {
      const int index = static_cast<int>(row);
      rows.groups.push_back({index, index, index, 0, 1, 0});
      rows.taps.emplace_back(kernel - 1, 0.0);
      rows.taps.back()[row] = 1;
    }
    return rows;
  }

  // Pairs of rows of outputs for k = 5, by F(2, 3) over the three rows above that they share.
  static RowGroups pairs() {
    RowGroups rows;
    rows.groups = {
        {0, 0, 2, -1, 1, 0}, {1, 3, 3, 0, 1, 0}, {2, 1, 2, 1, 1, 1}, {3, 2, 1, -1, 1, -1}, {4, 1, 3, -1, 0, 1}};
    rows.taps = {{1, 0, 0, 0}, {0, 0, 0, 1}, {0.5, 0.5, 0.5, 0}, {0.5, -0.5, 0.5, 0}, {0, 0, -1, 0}};
    return rows;
  }
  static constexpr int kLast{1};  // the one of `groups` that the second row of a pair still has to compute
};

}  // namespace latentloop
