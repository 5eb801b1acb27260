// The nearest codeword of each vector by squared Euclidean distance: the exact definition that all implementations
// share.
//
//   score_k = h_k + z . e_k,  h_k = -|e_k|^2 / 2
//
// The codeword with the largest score is the nearest; of equal scores the one with the lowest index. No implementation
// stores N x K values at once.
//
// - h_k: squares are summed in float64 in the order of d (they are exact there), halved, and rounded once to float32.
// If
//   the result is not finite, h_k is -infinity, and the codeword is never the nearest.
// - The score is a chain of float32 FMAs that starts with h_k and proceeds in the order d = 0, 1, ...; 16-bit inputs
// are
//   first converted to float32. So a vector's index depends only on that vector and the codebook, not on N, the layout
//   or the processor. (A processor without FMA rounds twice per step; the bound below still holds.)
// - A vector has no nearest codeword if its |z|^2 (a float32 FMA chain that starts with 0) is not finite, or if no
// score
//   is above -infinity. Then its index is -1, its distance and codeword are NaN, and it is counted in `invalid`.
// - The distance is computed from the selected codeword as the sum of (z - e)^2, which avoids cancellation.
//
// The index is that of exact arithmetic unless two distances differ by less than
//   c eps (|a|^2 + 2 |z| |a| + |b|^2 + 2 |z| |b|),  c = D / 2 + 2, eps = 2^-23,
// for their codewords a and b. A chain has D roundings of eps / 2, its partial sums are bounded by the Cauchy-Schwarz
// inequality, and h has one more rounding. Underflow adds at most 2 (D + 1) 2^-149; more if the caller's thread flushes
// subnormal numbers to 0. The bound holds while |e|^2 / 2 + |z| |e| is below the largest float32; above that, partial
// sums may overflow.
#pragma once

#include <stdint.h>

namespace latentloop::nearest {

constexpr int kMostDimensions{512};
constexpr int kMostCodewords{65536};

enum class Type : int32_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

// The result of one vector in one split (part) of the codebook.
struct alignas(16) Partial {
  float best;     // the largest score, or an approximation of it
  int32_t index;  // of its codeword; -1: no codeword
  float second;   // the second largest score; -infinity if `best` is exact
  float norm;     // |z|^2
};

// The argument of every CUDA kernel, passed by value. Pointers are device pointers; the optional ones may be null. A
// plain struct with the eight-byte fields first, so that launchers in any language can fill it.
struct Arguments {
  const void* z;         // [N, D]; if positions > 0, [N / positions, D, positions], an encoder's NCHW output
  const void* codebook;  // [K, D], of z's type
  float* half_norms;     // [K], h_k
  float* largest;        // [1], the largest finite |e_k|
  Partial* partials;     // [splits, N]
  int64_t* index;        // [N]
  float* distance;       // [N], or null
  void* codeword;        // shaped as z, or null
  int32_t* invalid;      // [1], counts vectors without a nearest codeword (the caller sets it to 0); or null
  int64_t vectors;       // N
  int64_t positions;     // per image; 0: z is [N, D]
  int32_t dimensions;    // D
  int32_t codewords;     // K
  int32_t splits;        // of the codebook; each split has `split_codewords` codewords
  int32_t split_codewords;
};
static_assert(sizeof(Arguments) == 104, "launcher.py has the same layout");

}  // namespace latentloop::nearest
