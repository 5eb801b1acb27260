// The nearest codeword of each vector, squared Euclidean: what every implementation here computes, to the bit.
//
//   score_k = h_k + z . e_k,  h_k = -|e_k|^2 / 2
//
// The codeword with the largest score is the nearest; of equal scores the lowest index. Never N x K values at once.
//
// - h_k: squares summed in float64 in the order of d (they are exact there), halved, rounded once to float32. Where
//   that is not finite, h_k is -infinity: the codeword is never the nearest.
// - The score is a chain of float32 FMAs that starts at h_k and takes d = 0, 1, ... in order; inputs of 16 bits are
//   widened first. So a vector's index depends on that vector and the codebook alone, whatever N, the layout, or the
//   processor (one without FMA rounds twice a step: the same bound below holds).
// - A vector whose |z|^2 (a float32 FMA chain from 0) is not finite has no nearest codeword, nor has one for which no
//   score is above -infinity: its index is -1, its distance and codeword NaN, and it is counted in `invalid`.
// - The distance is that of the chosen codeword, summed as (z - e)^2, so that it does not cancel.
//
// The index is that of exact arithmetic unless two distances differ by less than
//   c eps (|a|^2 + 2 |z| |a| + |b|^2 + 2 |z| |b|),  c = D / 2 + 2, eps = 2^-23,
// for their codewords a and b: D roundings of eps / 2 in a chain whose partial sums Cauchy and Schwarz bound, and one
// for h. Underflow adds at most 2 (D + 1) 2^-149; where the caller's thread flushes subnormal numbers to 0, more. It
// holds while |e|^2 / 2 + |z| |e| is below the largest float32: beyond, a chain may overflow on its way.
#pragma once

#include <stdint.h>

namespace latentloop::nearest {

constexpr int kMostDimensions{512};
constexpr int kMostCodewords{65536};

enum class Type : int32_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

// What one split of the codebook found for one vector.
struct alignas(16) Partial {
  float best;     // the largest score, or its approximation
  int32_t index;  // of its codeword; -1: none
  float second;   // the next largest; -infinity where `best` is exact
  float norm;     // |z|^2
};

// What every kernel takes, by value. Pointers are the device's; the optional ones may be null. A plain struct, so that
// any launcher can fill it: eight-byte fields first.
struct Arguments {
  const void* z;         // [N, D]; with `positions` > 0 [N / positions, D, positions]: the encoder's NCHW
  const void* codebook;  // [K, D], of z's type
  float* half_norms;     // [K], h_k
  float* largest;        // [1], the largest finite |e_k|
  Partial* partials;     // [splits, N]
  int64_t* index;        // [N]
  float* distance;       // [N], or null
  void* codeword;        // as z, or null
  int32_t* invalid;      // [1], counts vectors without a nearest codeword (the caller sets it to 0), or null
  int64_t vectors;       // N
  int64_t positions;     // of an image; 0: rows
  int32_t dimensions;    // D
  int32_t codewords;     // K
  int32_t splits;        // of the codebook; each searches `split_codewords` of them
  int32_t split_codewords;
};
static_assert(sizeof(Arguments) == 104, "the Python launcher fills it too");

}  // namespace latentloop::nearest
