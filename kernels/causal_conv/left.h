// The kernel of LeftTask: the causal convolution's taps to the left of a column, for every layer. kernels.h gives its
// bytes, FLOPs and bound.
//
// One work item is one panel of outputs of one layer (if gated, the panels of both halves). It reads its weights once
// for all rows (column, sample).
#pragma once

#include "../gemm/microkernel.h"
#include "../kernels.h"

namespace {

using latentloop::LeftTask;

constexpr int kLeftRows{32};  // rows (column, sample) that are processed at once; their sums stay in L1

size_t left_items(const LeftTask& task) {
  return static_cast<size_t>(task.layers) * panels(task.gated ? task.outputs / 2 : task.outputs);
}

// Writes sums [count, panel] for rows first .. first + count of one layer, over all taps. `panel` counts through all
// layers.
inline void left_sums(const LeftTask& t, int layer, int first, int count, size_t panel, float* sums) {
  const size_t tap_bytes = static_cast<size_t>(t.inputs) * kPanel * t.weights.bytes;
  const uint8_t* weights = t.weights.packed + panel * t.taps * tap_bytes;
  for (int s = 0; s < count * kPanel; ++s) sums[s] = 0;
  const float* x[kLeftRows];
  for (int tap = 0; tap < t.taps; ++tap, weights += tap_bytes) {
    for (int r = 0; r < count; ++r) {
      const int column = (first + r) / t.batch, b = (first + r) % t.batch;
      const int from = column + tap;
      const float* part = from < t.split ? t.x : t.later;
      const size_t at = static_cast<size_t>(from < t.split ? from : from - t.split);
      x[r] = part + ((at * t.layers + layer) * t.batch + b) * t.inputs;
    }
    multiply_rows(t.weights.bytes, x, count, weights, t.inputs, sums, nullptr);
  }
  if (t.weights.bytes != 4) scale_sums(sums, count, t.weights.scale + panel * kPanel);
}

// Writes out [width] of one row and panel: ELU(a + above_a), or if gated (a + above_a) * sigmoid(b + above_b).
inline void left_activate(bool gated, const float* a, const float* above_a, const float* b, const float* above_b,
                          int width, float* out) {
  int o = 0;
  for (; o + kLanes <= width; o += kLanes) {
    const Floats value = load(a + o) + load(above_a + o);
    store(out + o, gated ? value * sigmoid(load(b + o) + load(above_b + o)) : elu(value));
  }
  if (o == width) return;
  float part[kLanes] = {}, gate[kLanes] = {};
  for (int v = 0; o + v < width; ++v) {
    part[v] = a[o + v] + above_a[o + v];
    if (gated) gate[v] = b[o + v] + above_b[o + v];
  }
  store(part, gated ? load(part) * sigmoid(load(gate)) : elu(load(part)));
  for (int v = 0; o + v < width; ++v) out[o + v] = part[v];
}

void left(const LeftTask& t, size_t item) {
  const int half = t.gated ? t.outputs / 2 : t.outputs, parts = t.gated ? 2 : 1;
  const int layer = static_cast<int>(item / panels(half)), q = static_cast<int>(item % panels(half));
  const size_t panel = item * parts;
  const int width = half - q * kPanel < kPanel ? half - q * kPanel : kPanel;
  float a[kLeftRows * kPanel], b[kLeftRows * kPanel];
  for (int first = 0; first < t.columns * t.batch; first += kLeftRows) {
    const int remaining = t.columns * t.batch - first, count = remaining < kLeftRows ? remaining : kLeftRows;
    left_sums(t, layer, first, count, panel, a);
    if (t.gated) left_sums(t, layer, first, count, panel + 1, b);
    for (int r = 0; r < count; ++r) {
      const int column = (first + r) / t.batch, sample = (first + r) % t.batch;
      const size_t row = (static_cast<size_t>(column) * t.layers + layer) * t.batch + sample;
      const float* above = t.above + row * t.outputs + q * kPanel;
      left_activate(t.gated, a + r * kPanel, above, b + r * kPanel, above + half, width,
                    t.out + row * half + q * kPanel);
    }
  }
}

}  // namespace
