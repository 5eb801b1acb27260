// Packs the weights of the causal convolutions into panels; those for the rows above are transformed (Cook-Toom).
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "../gemm/panels.h"
#include "cook_toom.h"

namespace latentloop {

// Packs weight [p, L, I, O] into panels in the order (layer, panel of outputs), each [p I, panel], with zeros beyond O.
// If gated, panels of the two halves of O alternate. A plain matrix has p = L = 1.
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

// Transforms and packs one layer's weight [k (k - 1) I, O], whose inputs are in the order (column tap, row, channel),
// into panels in the order (panel of outputs, point), each [groups I, panel]. The first panel is `index`.
inline void pack_above(const float* weight, const CookToom& form, const RowGroups& rows, size_t inputs, size_t outputs,
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
