// The kernel of DrawTask: logits and the draw of one code per sample. kernels.h gives its bytes, FLOPs and bound.
//
// One work item is one group of samples.
#pragma once

#include "../gemm/thread_scratch.h"
#include "dense.h"

namespace {

using latentloop::DrawTask;

// Returns the first code whose cumulative probability exceeds `uniform`, or K if the logits are not finite numbers.
// `mass` [K] holds the logits; they are overwritten. The probabilities are not normalised: their cumulative sums are
// compared with uniform * total.
inline int64_t draw_code(float* mass, int codes, float uniform, float temperature) {
  for (int k = 0; k < codes; ++k) mass[k] /= temperature;
  float largest = mass[0];
  for (int k = 1; k < codes; ++k) largest = mass[k] > largest ? mass[k] : largest;
  for (int k = 0; k < codes; k += kLanes) {
    float part[kLanes] = {};
    const int live = codes - k < kLanes ? codes - k : kLanes;
    for (int v = 0; v < live; ++v) part[v] = mass[k + v] - largest;
    store(part, exp(load(part)));
    for (int v = 0; v < live; ++v) mass[k + v] = part[v];
  }
  for (int k = 1; k < codes; ++k) mass[k] += mass[k - 1];
  const float threshold =
      uniform * mass[codes - 1];  // `uniform` has 24 bits and is below 1, so the product is below the total
  int64_t below = 0;
  for (int k = 0; k < codes; ++k) below += !(mass[k] > threshold);
  return below;
}

size_t draw_items(const DrawTask& t) { return sample_groups(t.batch); }

bool draw(const DrawTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  const int first = static_cast<int>(item) * kMostSamples, rows = group_samples(t.batch, item);
  const int c = t.logits.inputs, codes = t.logits.outputs, stride = padded(codes);
  float* x = scratch.at_least(static_cast<size_t>(rows) * (c + stride));
  if (x == nullptr) return false;
  float* logits = x + static_cast<size_t>(rows) * c;
  elu_all(t.x + static_cast<size_t>(first) * c, x, rows * c);
  dense(t.logits, x, c, rows, logits, stride);
  for (int r = 0; r < rows; ++r) {
    float* mass = logits + static_cast<size_t>(r) * stride;
    float* to = t.out + static_cast<size_t>(first + r) * codes;
    for (int k = 0; k < codes; ++k) to[k] = mass[k];
    const int64_t drawn = draw_code(mass, codes, t.uniform[first + r], t.temperature[first + r]);
    t.code[first + r] = t.forced[first + r] >= 0 ? t.forced[first + r] : drawn;
  }
  return true;
}

}  // namespace
