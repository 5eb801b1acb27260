// The gated residual block of 1 x 1 convolutions: see GatedBlock.
#pragma once

#include "dense.h"

namespace {

using latentloop::GatedBlock;

// Number of floats of scratch memory that gated_block needs for `rows` rows.
inline size_t gated_block_scratch(const GatedBlock& p, int rows) {
  const size_t auxiliary = p.auxiliary.weights.packed ? p.auxiliary.inputs : 0;
  return rows * (p.conv1.inputs + static_cast<size_t>(padded(p.conv1.outputs)) + padded(p.conv2.outputs) + auxiliary);
}

// Applies the block to x [rows, width] in place; y [rows, auxiliary inputs]. `first` is the sample of row 0.
inline void gated_block(const GatedBlock& p, float* x, const float* y, int rows, int first, float* scratch) {
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

}  // namespace
