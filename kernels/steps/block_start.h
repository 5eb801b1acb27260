// What follows where channels of a block's input become known: see BlockStart.
#pragma once

#include "../gemm/simd.h"
#include "tasks.h"

namespace {

using latentloop::BlockStart;

inline void store_if(float* to, size_t at, Floats v, int live) {
  if (to) store_part(to + at, v, live);
}

// Begins the block for channels first .. first + count of a sample; `x` holds their values.
inline void start_block(const BlockStart& t, const float* x, int sample, int first, int count) {
  for (int i = 0; i < count; i += kLanes) {
    const int live = part_of(count - i), channel = first + i;
    const size_t at = static_cast<size_t>(sample) * t.stride + channel;
    Floats value = load_part(x + i, live), active = elu(value);
    const Floats in = t.inplace && t.layers > 0 ? active : value;
    for (int layer = 0; layer < t.layers; ++layer) {
      const size_t of_layer = (static_cast<size_t>(layer) * t.batch + sample) * t.channels + channel;
      if (layer > 0) active = elu(value);
      store_if(t.activated, of_layer, active, live);
      value = (t.inplace ? active : value) + load_part(t.gated + of_layer, live);
    }
    store_if(t.x, at, in, live);
    if (t.x_elu) store_part(t.x_elu + at, elu(in), live);
    store_if(t.sum, at, value, live);
    if (t.sum_elu) store_part(t.sum_elu + at, elu(value), live);
  }
  if (t.background == nullptr || first + count < t.channels) return;
  const size_t at = static_cast<size_t>(sample) * t.stride;
  const Floats value = load_part(t.background + static_cast<size_t>(sample) * 2, 2);
  store_part(t.background_out + at, value, 2);
  store_part(t.background_elu + at, elu(value), 2);
}

}  // namespace
