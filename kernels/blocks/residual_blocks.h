// The kernel of ResidualBlocksTask: all blocks of a prior without attention, for one column. kernels.h gives its bytes,
// FLOPs and bound.
//
// One work item is one group of samples.
#pragma once

#include "../gemm/thread_scratch.h"
#include "dense.h"

namespace {

using latentloop::ResidualBlocksTask;

// For each of `layers` layers: activated = ELU(x), then x += gated, or if `inplace`, x = ELU(x) + gated.
// x [rows, C]; gated and activated [layers, B, C], of which the rows are samples first .. first + rows. `activated` may
// be null.
inline void add_layers(float* x, const float* gated, float* activated, int layers, int batch, int channels, int first,
                       int rows, bool inplace) {
  const int count = rows * channels;
  for (int layer = 0; layer < layers; ++layer) {
    const size_t at = (static_cast<size_t>(layer) * batch + first) * channels;
    if (activated) elu_all(x, activated + at, count);
    if (!inplace) {
      for (int i = 0; i < count; ++i) x[i] += gated[at + i];
      continue;
    }
    if (!activated) elu_all(x, x, count);
    const float* active = activated ? activated + at : x;
    for (int i = 0; i < count; ++i) x[i] = active[i] + gated[at + i];
  }
}

size_t residual_blocks_items(const ResidualBlocksTask& t) { return sample_groups(t.batch); }

bool residual_blocks(const ResidualBlocksTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  const int first = static_cast<int>(item) * kMostSamples, rows = group_samples(t.batch, item);
  const int per_block = t.layers / t.blocks, stride = padded(t.channels);
  float* x = scratch.at_least(static_cast<size_t>(rows) * (t.channels + stride));
  if (x == nullptr) return false;
  float* convolved = x + static_cast<size_t>(rows) * t.channels;
  for (int i = 0; i < rows * t.channels; ++i) x[i] = t.x[static_cast<size_t>(first) * t.channels + i];
  for (int b = 0; b < t.blocks; ++b) {
    const size_t block = static_cast<size_t>(b) * per_block * t.batch * t.channels;
    add_layers(x, t.gated + block, t.activated + block, per_block, t.batch, t.channels, first, rows, t.inplace);
    dense(t.convs[b], x, t.channels, rows, convolved, stride);
    const float* above = t.mix_above + static_cast<size_t>(b) * t.channels;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < t.channels; ++c) x[r * t.channels + c] = convolved[r * stride + c] + above[c];
  }
  for (int i = 0; i < rows * t.channels; ++i) t.out[static_cast<size_t>(first) * t.channels + i] = x[i];
  return true;
}

}  // namespace
