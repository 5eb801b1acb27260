// Weights rearranged for the kernels, once, when a graph is loaded: panels of outputs, and for the rows above the
// Cook-Toom transform of the taps. Plain loops; sums in float64.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "../kernels.h"
#include "../panels/memory.h"

namespace latentloop {

inline size_t panel_count(size_t outputs, size_t panel) { return (outputs + panel - 1) / panel; }

// Floats of the packed left taps.
inline size_t left_size(size_t taps, size_t layers, size_t inputs, size_t outputs, bool gated, size_t panel) {
  const size_t parts = gated ? 2 : 1;
  return layers * panel_count(outputs / parts, panel) * parts * taps * inputs * panel;
}

// weight [p, L, I, O] -> [L, panels, p, I, panel] at `to`, zeros beyond O. Gated: panels of the halves of O alternate.
// With p = L = 1 a plain matrix.
inline void pack_left(const float* weight, size_t taps, size_t layers, size_t inputs, size_t outputs, bool gated,
                      size_t panel, float* to) {
  const size_t parts = gated ? 2 : 1, half = outputs / parts, panels = panel_count(half, panel);
  for (size_t layer = 0; layer < layers; ++layer)
    for (size_t q = 0; q < panels; ++q)
      for (size_t part = 0; part < parts; ++part)
        for (size_t tap = 0; tap < taps; ++tap)
          for (size_t i = 0; i < inputs; ++i) {
            const float* from = weight + ((tap * layers + layer) * inputs + i) * outputs + part * half;
            for (size_t o = q * panel; o < (q + 1) * panel; ++o) *to++ = o < half ? from[o] : 0.0f;
          }
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

// One layer's weight [k (k - 1) I, O], inputs in the order (column tap, row, channel), transformed and packed as
// [panels, points, k - 1, I, panel] at `to`.
inline void pack_above(const float* weight, const CookToom& form, size_t inputs, size_t outputs, size_t panel,
                       float* to) {
  const size_t above = form.kernel - 1, tap_stride = above * inputs * outputs;
  std::vector<double> sum(panel);
  for (size_t q = 0; q < panel_count(outputs, panel); ++q) {
    const size_t live = outputs - q * panel < panel ? outputs - q * panel : panel;
    for (size_t point = 0; point < form.points; ++point)
      for (size_t row = 0; row < above * inputs; ++row, to += panel) {
        for (size_t o = 0; o < panel; ++o) sum[o] = 0;
        for (size_t tap = 0; tap < form.kernel; ++tap) {
          const double factor = form.taps[point * form.kernel + tap];
          if (factor == 0) continue;
          const float* from = weight + tap * tap_stride + row * outputs + q * panel;
          for (size_t o = 0; o < live; ++o) sum[o] += factor * from[o];
        }
        for (size_t o = 0; o < panel; ++o) to[o] = static_cast<float>(sum[o]);
      }
  }
}

}  // namespace latentloop
