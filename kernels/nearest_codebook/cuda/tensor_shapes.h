// Conversion of tensor shapes to the launcher's problem, for the ONNX Runtime operator and the TensorRT plugin.
//
//   z [..., D] or, if channels first, [B, D, ...], codebook [K, D] -> index [...] or [B, ...]
#pragma once

#include <stdint.h>

#include "launch.h"

namespace latentloop::nearest {

struct TensorShape {
  const int64_t* sizes;
  int rank;
};

// Returns the axis of z that is D; -1 if z has too few axes.
inline int dimensions_axis(int rank, bool channels_first) {
  if (rank < (channels_first ? 2 : 1)) return -1;
  return channels_first ? 1 : rank - 1;
}

// Sets vectors, positions, dimensions and codewords. Returns false if the shapes do not match. The launcher checks the
// ranges.
inline bool describe(TensorShape z, TensorShape codebook, bool channels_first,
                     latentloop_cuda_nearest_problem& problem) {
  const int axis = dimensions_axis(z.rank, channels_first);
  if (axis < 0 || codebook.rank != 2 || z.sizes[axis] != codebook.sizes[1]) return false;
  if (codebook.sizes[0] > INT32_MAX || codebook.sizes[1] > INT32_MAX) return false;
  int64_t before = 1, after = 1;
  for (int i = 0; i < axis; ++i) before *= z.sizes[i];
  for (int i = axis + 1; i < z.rank; ++i) after *= z.sizes[i];
  problem.vectors = before * after;
  problem.positions = channels_first ? after : 0;
  problem.codewords = static_cast<int32_t>(codebook.sizes[0]);
  problem.dimensions = static_cast<int32_t>(codebook.sizes[1]);
  return true;
}

}  // namespace latentloop::nearest
