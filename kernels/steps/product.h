// The kernel of ProductTask. One work item is a part of a panel of outputs (if gated, of the panels of both halves): the
// fewer panels there are, the smaller the parts, so that more threads can share a product.
#pragma once

#include "../gemm/microkernel.h"
#include "block_start.h"

namespace {

using latentloop::Dense;
using latentloop::ProductTask;

constexpr int kProductRows{32};  // samples that are processed at once; their sums stay in L1
constexpr int kEnoughItems{8};

// Outputs of a product: if gated, of each half.
inline int product_outputs(const ProductTask& t) { return t.gated ? t.layer.outputs / 2 : t.layer.outputs; }

// Vectors of outputs per work item.
inline int product_vectors(const ProductTask& t) {
  int vectors = kVectors;
  while (vectors > 1 && (product_outputs(t) + vectors * kLanes - 1) / (vectors * kLanes) < kEnoughItems) vectors /= 2;
  return vectors;
}

size_t product_items(const ProductTask& t) {
  const int width = product_vectors(t) * kLanes;
  return static_cast<size_t>((product_outputs(t) + width - 1) / width);
}

// sums [rows, V vectors] = the product with the vectors of one panel that begin at output `offset` of it.
template <int V>
inline void panel_sums(const Dense& d, int panel, int offset, const float* const* x, int rows, float* sums) {
  const int bytes = d.weights.bytes;
  const uint8_t* weights = d.weights.packed + (static_cast<size_t>(panel) * d.inputs * kPanel + offset) * bytes;
  for (int s = 0; s < rows * V * kLanes; s += kLanes) store(sums + s, Floats{});
  multiply_rows<V>(bytes, x, rows, weights, d.inputs, sums, nullptr);
  if (bytes != 4) scale_sums<V>(sums, rows, d.weights.scale + static_cast<size_t>(panel) * kPanel + offset);
}

// The sum of one vector of outputs and their biases.
inline Floats biased(Floats sum, const float* bias, const float* label, int live) {
  if (bias) sum += load_part(bias, live);
  if (label) sum += load_part(label, live);
  return sum;
}

template <int V>
bool product_part(const ProductTask& t, int first_output) {
  constexpr int kWidth = V * kLanes;
  const int outputs = product_outputs(t), offset = first_output % kPanel;
  const int panel = first_output / kPanel, width = outputs - first_output < kWidth ? outputs - first_output : kWidth;
  float a[kProductRows * kWidth], b[kProductRows * kWidth], other[kProductRows * kWidth];
  for (int first = 0; first < t.batch; first += kProductRows) {
    const int rows = t.batch - first < kProductRows ? t.batch - first : kProductRows;
    const float* x[kProductRows];
    for (int r = 0; r < rows; ++r) x[r] = t.x + static_cast<size_t>(first + r) * t.x_stride;
    panel_sums<V>(t.layer, t.gated ? 2 * panel : panel, offset, x, rows, a);
    if (t.gated) panel_sums<V>(t.layer, 2 * panel + 1, offset, x, rows, b);
    if (t.auxiliary.weights.packed) {
      for (int r = 0; r < rows; ++r) x[r] = t.y + static_cast<size_t>(first + r) * t.y_stride;
      panel_sums<V>(t.auxiliary, panel, offset, x, rows, other);
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
          const Floats gate = biased(load(b + at), bias ? bias + outputs + i : nullptr,
                                     label ? label + outputs + i : nullptr, live);
          value = load_part(t.base + sample * t.base_stride + first_output + i, live) + value * sigmoid(gate);
        }
        if (t.elu) value = elu(value);
        store(values + i, value);
        if (t.out) store_part(t.out + sample * t.out_stride + first_output + i, value, live);
      }
      if (t.next) start_block(*t.next, values, first + r, first_output, width);
    }
  }
  return true;
}

bool product(const ProductTask& t, size_t item) {
  const int vectors = product_vectors(t), first_output = static_cast<int>(item) * vectors * kLanes;
  switch (vectors) {
    case 1:
      return product_part<1>(t, first_output);
    case 2:
      return product_part<2>(t, first_output);
    default:
      return product_part<kVectors>(t, first_output);
  }
}

}  // namespace
