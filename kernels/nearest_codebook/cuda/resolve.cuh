// The final results, from the partial results of all splits: one warp per vector.
//
// If the rounding of tensor cores may have changed the order of the two best scores, the warp scores all codewords
// again by FMA chains, so the index is that of the exact search. This is slow, but rare unless the codebook has
// duplicates or an outlier.
// Bytes: 16 N per split; 2 N D values for the distance and the codeword, if requested. Bound: memory bandwidth.
#pragma once

#include <math.h>

#include "partials.cuh"
#include "plan.h"
#include "vectors.cuh"

namespace latentloop::nearest {

// Returns a bound on the difference between a tensor core's score and the FMA chain's, for a vector of squared norm
// `norm` and codewords of norms up to `largest`.
//
// The bound is `roundings` times eps * (|e|^2 / 2 + |z| |e|), which bounds all partial sums. Products of 16-bit values
// are exact in float32. Tensor cores add them to the sum in blocks of 4, 8 or 16. They truncate each addend at the last
// place of the largest one, and then truncate the total (Fasi et al., "Numerical behavior of NVIDIA tensor cores",
// 2021). Blocks of 4 are the worst case, 6 eps per 4 dimensions. The chain adds eps / 2 per dimension, and underflow at
// most the smallest normal number per dimension.
LATENTLOOP_DEVICE float tensor_error(int dimensions, float norm, float largest) {
  constexpr float kEpsilon{1.1920929e-7f}, kSmallest{1.17549435e-38f}, kRoundedUp{1.00001f};
  const float roundings = 24.0f * static_cast<float>((dimensions + 15) / 16) + 0.5f * static_cast<float>(dimensions);
  const float scale = largest * largest / 2 + sqrtf(norm) * largest;
  return kRoundedUp * roundings * kEpsilon * scale + static_cast<float>(dimensions) * kSmallest;
}

template <typename T>
LATENTLOOP_DEVICE void resolve(const Arguments& a) {
  const int lane = thread_index() % 32;
  const int64_t n = block_x() * kResolvedVectors + thread_index() / 32;
  if (n >= a.vectors) return;  // the whole warp returns
  const Vectors<T> vectors(a.z, a.positions, a.dimensions);
  const T* z = vectors.first + vectors.base(n);
  const T* codebook = static_cast<const T*>(a.codebook);
  const int64_t stride = vectors.stride();

  // 1. Merge the splits.
  Partial result{-infinity(), -1, -infinity(), a.partials[n].norm};
  for (int split = lane; split < a.splits; split += 32) merge(result, a.partials[split * a.vectors + n]);
  result = across_lanes(result, 32);

  // 2. Score all codewords again if the best two are closer than their errors.
  const float margin = 2 * tensor_error(a.dimensions, result.norm, a.largest[0]);
  const bool uses_tensor_cores = sizeof(T) == 2;  // never for float32
  if (uses_tensor_cores && is_finite(result.norm) && !(result.best - result.second > margin)) {
    result = {-infinity(), -1, -infinity(), result.norm};
    for (int k = lane; k < a.codewords; k += 32) {
      float score = a.half_norms[k];
      const T* codeword = codebook + int64_t{k} * a.dimensions;
      for (int d = 0; d < a.dimensions; ++d) score = multiply_add(widen(z[d * stride]), widen(codeword[d]), score);
      if (score > result.best) result.best = score, result.index = k;
    }
    result = across_lanes(result, 32);
  }

  // 3. Write the outputs.
  const bool is_invalid = result.index < 0 || !is_finite(result.norm);
  if (lane == 0) {
    a.index[n] = is_invalid ? -1 : result.index;
    if (is_invalid && a.invalid != nullptr) atomic_add(a.invalid, 1);
  }
  const T* codeword = codebook + int64_t{is_invalid ? 0 : result.index} * a.dimensions;
  if (a.codeword != nullptr) {
    T* to = static_cast<T*>(a.codeword) + vectors.base(n);
    for (int d = lane; d < a.dimensions; d += 32) to[d * stride] = is_invalid ? T(not_a_number()) : codeword[d];
  }
  if (a.distance != nullptr) {
    float distance = 0;
    for (int d = lane; d < a.dimensions; d += 32) {
      const float difference = widen(z[d * stride]) - widen(codeword[d]);
      distance = multiply_add(difference, difference, distance);
    }
    LATENTLOOP_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) distance += shuffle_xor(distance, mask);
    if (lane == 0) a.distance[n] = is_invalid ? not_a_number() : distance;
  }
}

}  // namespace latentloop::nearest
