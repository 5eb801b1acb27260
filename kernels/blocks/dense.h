// The dense layer for a few samples, and the elementwise operations around it.
#pragma once

#include "../gemm/microkernel.h"
#include "../kernels.h"

namespace {

using latentloop::Dense;

constexpr int kMostSamples{8};  // samples of one group; a group is processed at once, by one work item

// Number of outputs, rounded up to whole panels.
inline int padded(int outputs) { return panels(outputs) * kPanel; }

// out[r][o] = x[r] * weight + bias for `rows` rows, or if `add`, out[r][o] += that. `stride` and `out_stride` are the
// distances between rows in floats.
inline void dense(const Dense& d, const float* x, int stride, int rows, float* out, int out_stride, bool add = false) {
  const float* in[kMostSamples];
  for (int r = 0; r < rows; ++r) in[r] = x + static_cast<size_t>(r) * stride;
  float sums[kMostSamples * kPanel];
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

// to = ELU(from), for `count` values; `to` may equal `from`.
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

inline size_t sample_groups(int batch) { return (batch + kMostSamples - 1) / kMostSamples; }

// Number of samples of the group, which begins at sample group * kMostSamples.
inline int group_samples(int batch, size_t group) {
  const int remaining = batch - static_cast<int>(group) * kMostSamples;
  return remaining < kMostSamples ? remaining : kMostSamples;
}

}  // namespace
