// The chain of a prior without attention: see MixTask.
#pragma once

#include "../gemm/scratch.h"
#include "dense.h"

namespace {

using latentloop::MixTask;

// x [rows, C] += the gated outputs of `layers` layers, one after the other; entered gets the ELU of x before each.
// gated and entered are [layers, B, C]; `entered` may be null. `inplace`: x = ELU(x) + gated.
inline void add_layers(float* x, const float* gated, float* entered, int layers, int batch, int channels, int first,
                       int rows, bool inplace) {
  const int count = rows * channels;
  for (int layer = 0; layer < layers; ++layer) {
    const size_t at = (static_cast<size_t>(layer) * batch + first) * channels;
    if (entered) elu_all(x, entered + at, count);
    if (!inplace) {
      for (int i = 0; i < count; ++i) x[i] += gated[at + i];
      continue;
    }
    if (!entered) elu_all(x, x, count);
    const float* active = entered ? entered + at : x;
    for (int i = 0; i < count; ++i) x[i] = active[i] + gated[at + i];
  }
}

size_t mix_items(const MixTask& t) { return chain_groups(t.batch); }

bool mix(const MixTask& t, size_t item) {
  static thread_local Scratch scratch;
  const int first = static_cast<int>(item) * kChainRows, rows = chain_rows(t.batch, item);
  const int per_block = t.layers / t.blocks, stride = padded(t.channels);
  float* x = scratch.at_least(static_cast<size_t>(rows) * (t.channels + stride));
  if (x == nullptr) return false;
  float* mixed = x + static_cast<size_t>(rows) * t.channels;
  for (int i = 0; i < rows * t.channels; ++i) x[i] = t.x[static_cast<size_t>(first) * t.channels + i];
  for (int b = 0; b < t.blocks; ++b) {
    const size_t block = static_cast<size_t>(b) * per_block * t.batch * t.channels;
    add_layers(x, t.gated + block, t.entered + block, per_block, t.batch, t.channels, first, rows, t.inplace);
    dense(t.mixes[b], x, t.channels, rows, mixed, stride);
    const float* above = t.mix_above + static_cast<size_t>(b) * t.channels;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < t.channels; ++c) x[r * t.channels + c] = mixed[r * stride + c] + above[c];
  }
  for (int i = 0; i < rows * t.channels; ++i) t.out[static_cast<size_t>(first) * t.channels + i] = x[i];
  return true;
}

}  // namespace
