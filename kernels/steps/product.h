// The kernel of ProductTask. One work item is one panel of outputs (if gated, the panels of both halves).
#pragma once

#include "../gemm/microkernel.h"
#include "block_start.h"

namespace {

using latentloop::Dense;
using latentloop::ProductTask;

constexpr int kProductRows{32};  // samples that are processed at once; their sums stay in L1

// Outputs of a product: if gated, of each half.
inline int product_outputs(const ProductTask& t) { return t.gated ? t.layer.outputs / 2 : t.layer.outputs; }

size_t product_items(const ProductTask& t) {
  return static_cast<size_t>((product_outputs(t) + t.layer.panel - 1) / t.layer.panel);
}

// sums [rows, panel] = the product with one panel of V vectors.
template <int V>
inline void panel_sums(const Dense& d, int panel, const float* const* x, int rows, float* sums) {
  constexpr int kWidth{V * kLanes};
  const int bytes = d.weights.bytes;
  const uint8_t* weights = d.weights.packed + static_cast<size_t>(panel) * d.inputs * kWidth * bytes;
  for (int s = 0; s < rows * kWidth; s += kLanes) store(sums + s, Floats{});
  multiply_rows<V>(bytes, x, rows, weights, d.inputs, sums, nullptr);
  if (bytes != 4) scale_sums<V>(sums, rows, d.weights.scale + static_cast<size_t>(panel) * kWidth);
}

// The sum of one vector of outputs and their biases.
inline Floats biased(Floats sum, const float* bias, const float* label, int live) {
  if (bias) sum += load_part(bias, live);
  if (label) sum += load_part(label, live);
  return sum;
}

template <int V>
void product_panel(const ProductTask& t, int panel) {
  constexpr int kWidth{V * kLanes};
  const int outputs = product_outputs(t), first_output = panel * kWidth;
  const int width = outputs - first_output < kWidth ? outputs - first_output : kWidth;
  float a[kProductRows * kWidth], b[kProductRows * kWidth], other[kProductRows * kWidth];
  for (int first = 0; first < t.batch; first += kProductRows) {
    const int rows = t.batch - first < kProductRows ? t.batch - first : kProductRows;
    const float* x[kProductRows];
    for (int r = 0; r < rows; ++r) x[r] = t.x + static_cast<size_t>(first + r) * t.x_stride;
    panel_sums<V>(t.layer, t.gated ? 2 * panel : panel, x, rows, a);
    if (t.gated) panel_sums<V>(t.layer, 2 * panel + 1, x, rows, b);
    if (t.auxiliary.weights.packed) {
      for (int r = 0; r < rows; ++r) x[r] = t.y + static_cast<size_t>(first + r) * t.y_stride;
      panel_sums<V>(t.auxiliary, panel, x, rows, other);
    }
    for (int r = 0; r < rows; ++r) {
      const size_t sample = static_cast<size_t>(first + r);
      const float* bias = t.layer.bias ? t.layer.bias + first_output : nullptr;
      const float* label = t.label ? t.label + sample * t.label_stride + first_output : nullptr;
      float values[kWidth];
      for (int i = 0; i < width; i += kLanes) {
        const int live = part_of(width - i), at = r * kWidth + i;
        Floats value = biased(load(a + at), bias ? bias + i : nullptr, label ? label + i : nullptr, live);
        if (t.auxiliary.weights.packed) value += load(other + at);
        if (t.gated) {
          const Floats gate =
              biased(load(b + at), bias ? bias + outputs + i : nullptr, label ? label + outputs + i : nullptr, live);
          value = load_part(t.base + sample * t.base_stride + first_output + i, live) + value * sigmoid(gate);
        }
        if (t.elu) value = elu(value);
        store(values + i, value);
        if (t.out) store_part(t.out + sample * t.out_stride + first_output + i, value, live);
      }
      if (t.next) start_block(*t.next, values, first + r, first_output, width);
    }
  }
}

void product(const ProductTask& t, size_t item) {
  switch (t.layer.panel / kLanes) {
    case 1:
      return product_panel<1>(t, static_cast<int>(item));
    case 2:
      return product_panel<2>(t, static_cast<int>(item));
    default:
      return product_panel<kVectors>(t, static_cast<int>(item));
  }
}

}  // namespace
