// From the splits' partial results to the answer: one warp a vector.
//
// Where the next best score may be the best in truth, because tensor cores rounded, all codewords are scored again by
// FMA chains, and the index is that of the exact search. Slow, and rare unless the codebook has copies or an outlier.
// Bytes: splits * 16 N, and 2 N D values where the distance or the codeword is asked for.
#pragma once

#include <math.h>

#include "partial.cuh"
#include "plan.h"
#include "vectors.cuh"

namespace latentloop::nearest {

// How far a tensor core's score may be from the FMA chain's, for a vector of squared norm `norm` and codewords of norms
// up to `largest`: so many units of eps * (|e|^2 / 2 + |z| |e|), which bounds all partial sums. Products of 16-bit
// values are exact in float32. Tensor cores add blocks of 4, 8 or 16 of them to the sum, cutting each addend at the
// last place of the largest, and then their total (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021): in
// blocks of 4, the worst, that is 6 times eps for each 4 dimensions. The chain adds eps / 2 for each dimension,
// underflow at most the smallest normal number.
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
  if (n >= a.vectors) return;  // a whole warp
  const Vectors<T> vectors(a.z, a.positions, a.dimensions);
  const T* z = vectors.first + vectors.base(n);
  const T* codebook = static_cast<const T*>(a.codebook);
  const int64_t stride = vectors.stride();

  Partial found{-infinity(), -1, -infinity(), a.partials[n].norm};
  for (int split = lane; split < a.splits; split += 32) merge(found, a.partials[split * a.vectors + n]);
  found = across_lanes(found, 32);

  const float margin = 2 * tensor_error(a.dimensions, found.norm, a.largest[0]);
  const bool rounded = sizeof(T) == 2;  // vectors of float32 never meet a tensor core
  if (rounded && is_finite(found.norm) && !(found.best - found.second > margin)) {
    found = {-infinity(), -1, -infinity(), found.norm};
    for (int k = lane; k < a.codewords; k += 32) {
      float score = a.half_norms[k];
      const T* codeword = codebook + int64_t{k} * a.dimensions;
      for (int d = 0; d < a.dimensions; ++d) score = multiply_add(widen(z[d * stride]), widen(codeword[d]), score);
      if (score > found.best) found.best = score, found.index = k;
    }
    found = across_lanes(found, 32);
  }

  const bool none = found.index < 0 || !is_finite(found.norm);
  if (lane == 0) {
    a.index[n] = none ? -1 : found.index;
    if (none && a.invalid != nullptr) atomic_add(a.invalid, 1);
  }
  const T* codeword = codebook + int64_t{none ? 0 : found.index} * a.dimensions;
  if (a.codeword != nullptr) {
    T* to = static_cast<T*>(a.codeword) + vectors.base(n);
    for (int d = lane; d < a.dimensions; d += 32) to[d * stride] = none ? T(not_a_number()) : codeword[d];
  }
  if (a.distance != nullptr) {
    float distance = 0;
    for (int d = lane; d < a.dimensions; d += 32) {
      const float difference = widen(z[d * stride]) - widen(codeword[d]);
      distance = multiply_add(difference, difference, distance);
    }
    LATENTLOOP_UNROLL
    for (int mask = 16; mask > 0; mask /= 2) distance += shuffle_xor(distance, mask);
    if (lane == 0) a.distance[n] = none ? not_a_number() : distance;
  }
}

}  // namespace latentloop::nearest
