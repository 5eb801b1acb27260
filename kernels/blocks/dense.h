// Matrix products of a few rows, and the gated 1 x 1 block.
#pragma once

#include "../gemm/tile.h"
#include "../kernels.h"

namespace {

using latentloop::Dense;
using latentloop::Pointwise;

constexpr int kChainRows{8};  // samples handled at once

inline int padded(int outputs) { return panels(outputs) * kPanel; }

// out[r][o] (+)= x[r] * weight + bias for `rows` rows; `stride` and `out_stride` are distances between rows, and out
// has room for whole panels.
inline void dense(const Dense& d, const float* x, int stride, int rows, float* out, int out_stride, bool add = false) {
  const float* in[kChainRows];
  for (int r = 0; r < rows; ++r) in[r] = x + static_cast<size_t>(r) * stride;
  float sums[kChainRows * kPanel];
  for (int q = 0; q < panels(d.outputs); ++q) {
    const int width = d.outputs - q * kPanel < kPanel ? d.outputs - q * kPanel : kPanel;
    for (int s = 0; s < rows * kPanel; ++s) sums[s] = 0;
    const uint8_t* panel = d.weights.packed + static_cast<size_t>(q) * d.inputs * kPanel * d.weights.bytes;
    multiply_rows(d.weights.bytes, in, rows, panel, d.inputs, sums, nullptr);
    if (d.weights.bytes != 4) scale_sums(sums, rows, d.weights.scale + static_cast<size_t>(q) * kPanel);
    for (int r = 0; r < rows; ++r) {
      float* to = out + static_cast<size_t>(r) * out_stride + q * kPanel;
      const float* from = sums + r * kPanel;
      for (int o = 0; o < width; ++o) {
        const float biased = d.bias ? from[o] + d.bias[q * kPanel + o] : from[o];
        to[o] = add ? to[o] + biased : biased;
      }
    }
  }
}

// to = ELU(from), for `count` values; both may be one array.
inline void elu_all(const float* from, float* to, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, elu(load(from + i)));
  if (i == count) return;
  float part[kLanes] = {};
  for (int v = 0; i + v < count; ++v) part[v] = from[i + v];
  store(part, elu(load(part)));
  for (int v = 0; i + v < count; ++v) to[i + v] = part[v];
}

// x += a * sigmoid(b), for `count` values.
inline void add_gated(float* x, const float* a, const float* b, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store(x + i, load(x + i) + load(a + i) * sigmoid(load(b + i)));
  if (i == count) return;
  float gate[kLanes] = {};
  for (int v = 0; i + v < count; ++v) gate[v] = b[i + v];
  store(gate, sigmoid(load(gate)));
  for (int v = 0; i + v < count; ++v) x[i + v] += a[i + v] * gate[v];
}

// Floats that pointwise needs for `rows` rows.
inline size_t pointwise_scratch(const Pointwise& p, int rows) {
  const size_t auxiliary = p.auxiliary.weights.packed ? p.auxiliary.inputs : 0;
  return rows * (p.conv1.inputs + static_cast<size_t>(padded(p.conv1.outputs)) + padded(p.conv2.outputs) + auxiliary);
}

// The gated 1 x 1 block on x [rows, width], in place; y [rows, auxiliary inputs]; `first` is the first row's sample.
inline void pointwise(const Pointwise& p, float* x, const float* y, int rows, int first, float* scratch) {
  const int width = p.conv1.inputs, inner = padded(p.conv1.outputs), outer = padded(p.conv2.outputs);
  float *in = scratch, *hidden = in + rows * width, *out = hidden + rows * inner, *other = out + rows * outer;
  elu_all(x, in, rows * width);
  dense(p.conv1, in, width, rows, hidden, inner);
  if (p.auxiliary.weights.packed) {
    elu_all(y, other, rows * p.auxiliary.inputs);
    dense(p.auxiliary, other, p.auxiliary.inputs, rows, hidden, inner, true);
  }
  for (int r = 0; r < rows; ++r) elu_all(hidden + r * inner, hidden + r * inner, p.conv1.outputs);
  dense(p.conv2, hidden, inner, rows, out, outer);
  for (int r = 0; r < rows; ++r) {
    float* a = out + static_cast<size_t>(r) * outer;
    if (p.label)
      for (int o = 0; o < 2 * width; ++o) a[o] += p.label[static_cast<size_t>(first + r) * 2 * width + o];
    float* to = x + static_cast<size_t>(r) * width;
    const float* active = in + static_cast<size_t>(r) * width;
    if (p.inplace)
      for (int i = 0; i < width; ++i) to[i] = active[i];
    add_gated(to, a, a + width, width);
  }
}

inline size_t chain_groups(int batch) { return (batch + kChainRows - 1) / kChainRows; }

inline int chain_rows(int batch, size_t group) {
  const int left_over = batch - static_cast<int>(group) * kChainRows;
  return left_over < kChainRows ? left_over : kChainRows;
}

}  // namespace
