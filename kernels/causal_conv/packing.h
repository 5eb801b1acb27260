// The causal convolutions' weights in panels, and for the rows above the Cook-Toom transform of the taps.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "../gemm/packing.h"
#include "../kernels.h"

namespace latentloop {

// weight [p, L, I, O] -> panels in the order (layer, panel of outputs), each [p I, panel], zeros beyond O. Gated:
// panels of the halves of O alternate. With p = L = 1 a plain matrix.
inline Panels pack_left(const float* weight, size_t taps, size_t layers, size_t inputs, size_t outputs, bool gated,
                        size_t panel, int bytes) {
  const size_t parts = gated ? 2 : 1, half = outputs / parts, panels = panel_count(half, panel);
  Panels packed(layers * panels * parts, taps * inputs, panel, bytes);
  std::vector<double> values(taps * inputs * panel);
  size_t index = 0;
  for (size_t layer = 0; layer < layers; ++layer)
    for (size_t q = 0; q < panels; ++q)
      for (size_t part = 0; part < parts; ++part) {
        double* to = values.data();
        for (size_t tap = 0; tap < taps; ++tap)
          for (size_t i = 0; i < inputs; ++i) {
            const float* from = weight + ((tap * layers + layer) * inputs + i) * outputs + part * half;
            for (size_t o = q * panel; o < (q + 1) * panel; ++o) *to++ = o < half ? from[o] : 0.0;
          }
        packed.set(index++, values.data());
      }
  return packed;
}

// F(m, k): m outputs of a correlation with k taps from m + k - 1 products, out = A^T [(G taps) * (B^T inputs)].
// m = 1 is the direct form.
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
      // Row j of B^T: the coefficients of the product of (x - other points); for infinity, of all finite points.
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
      for (size_t t = 0; t < k; ++t) taps[j * k + t] /= largest;  // balanced: rounding errors stay alike
      for (size_t c = 0; c < product.size(); ++c) inputs[j * points + c] = static_cast<float>(product[c] * largest);
      for (size_t m = 0; m < tile; ++m) {
        const double power = j < finite ? std::pow(kPoints[j], static_cast<double>(m)) : m == tile - 1;
        outputs[m * points + j] = static_cast<float>(power);
      }
    }
  }
};

// How the k - 1 rows above enter: `groups` of products, and the combination of the weights' rows that each needs.
struct RowForm {
  std::vector<AboveGroup> groups;         // of one row of outputs alone, or of the first of a pair
  std::vector<std::vector<double>> taps;  // [groups, k - 1], in the order of `index`

  // Every row by itself.
  static RowForm single(size_t kernel) {
    RowForm form;
    for (size_t row = 0; row + 1 < kernel; ++row) {
      const int index = static_cast<int>(row);
      form.groups.push_back({index, index, index, 0, 1, 0});
      form.taps.emplace_back(kernel - 1, 0.0);
      form.taps.back()[row] = 1;
    }
    return form;
  }

  // Pairs of rows of outputs, k = 5, by F(2, 3) over the three taps that they share.
  static RowForm pairs() {
    RowForm form;
    form.groups = {
        {0, 0, 2, -1, 1, 0}, {1, 3, 3, 0, 1, 0}, {2, 1, 2, 1, 1, 1}, {3, 2, 1, -1, 1, -1}, {4, 1, 3, -1, 0, 1}};
    form.taps = {{1, 0, 0, 0}, {0, 0, 0, 1}, {0.5, 0.5, 0.5, 0}, {0.5, -0.5, 0.5, 0}, {0, 0, -1, 0}};
    return form;
  }
  static constexpr int kLast{1};  // the group that is all that the second row of a pair still needs
};

// One layer's weight [k (k - 1) I, O], inputs in the order (column tap, row, channel), transformed: panels in the order
// (panel of outputs, point), each [groups I, panel], from `index` on.
inline void pack_above(const float* weight, const CookToom& form, const RowForm& rows, size_t inputs, size_t outputs,
                       size_t panel, size_t index, Panels& packed) {
  const size_t above = form.kernel - 1;
  std::vector<double> values(rows.taps.size() * inputs * panel);
  for (size_t q = 0; q < panel_count(outputs, panel); ++q) {
    const size_t live = outputs - q * panel < panel ? outputs - q * panel : panel;
    for (size_t point = 0; point < form.points; ++point) {
      std::fill(values.begin(), values.end(), 0.0);
      for (size_t g = 0; g < rows.taps.size(); ++g)
        for (size_t tap = 0; tap < form.kernel; ++tap)
          for (size_t row = 0; row < above; ++row) {
            const double factor = form.taps[point * form.kernel + tap] * rows.taps[g][row];
            if (factor == 0) continue;
            const float* from = weight + (tap * above + row) * inputs * outputs + q * panel;
            double* to = values.data() + g * inputs * panel;
            for (size_t i = 0; i < inputs; ++i, from += outputs, to += panel)
              for (size_t o = 0; o < live; ++o) to[o] += factor * from[o];
          }
      packed.set(index++, values.data());
    }
  }
}

}  // namespace latentloop
