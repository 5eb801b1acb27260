// From the shapes of a graph's tensors to the launcher's problem: what the adapters for ONNX Runtime and TensorRT
// share.
//
//   z [..., D] or, channels first, [B, D, ...], codebook [K, D] -> index [...] or [B, ...]
#pragma once

#include <stdint.h>

#include "launch.h"

namespace latentloop::nearest {

struct TensorShape {
  const int64_t* sizes;
  int rank;
};

// Which of z's axes is D; -1: z has too few.
inline int dimensions_axis(int rank, bool channels_first) {
  if (rank < (channels_first ? 2 : 1)) return -1;
  return channels_first ? 1 : rank - 1;
}

// Fills in N, positions, D and K. False: the shapes do not fit each other. Ranges are the launcher's to check.
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
