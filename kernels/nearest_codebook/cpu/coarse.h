// A coarse search for a single vector, with the codebook in bfloat16: selects the panels that may hold the nearest
// codeword, for the exact search.
//
// For a single vector, the exact search is bound by reading the codebook from memory. The coarse search reads half of
// the bytes, and selects only the panels whose best score is within the bfloat16 error of the overall best.
// Bytes: 2 K D. FLOPs: 2 K D. Bound: memory bandwidth.
#pragma once

#include "../../gemm/microkernel.h"
#include "../../kernels.h"

namespace {

using latentloop::NearestTask;

constexpr float kMostCoarse{1e15f};  // largest |z| and |e| for which no score overflows

inline Ints load(const int32_t* from) {
  Ints v;
  memcpy(&v, from, sizeof v);
  return v;
}

inline Floats as_floats(Ints bits) {
  Floats v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

// Writes best [P, lanes] for P panels: the largest score of each lane. Computing several panels at once hides the
// latency of the FMA chains.
template <int P>
inline void coarse_panels(const float* x, int stride, const uint32_t* words, const float* half_norms, int dimensions,
                          float* best) {
  constexpr int kHalf{kVectors / 2}, kWords{kPanel / 2};
  const size_t panel_words = static_cast<size_t>(dimensions) * kWords;
  Floats score[P][kVectors];
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < kVectors; ++v) score[p][v] = load(half_norms + p * kPanel + v * kLanes);
  for (int d = 0; d < dimensions; ++d, x += stride, words += kWords) {
    const Floats in = broadcast(*x);
    for (int p = 0; p < P; ++p) {
      for (int v = 0; v < kHalf; ++v) {
        const Ints pairs = load(reinterpret_cast<const int32_t*>(words + p * panel_words) + v * kLanes);
        score[p][v] += in * as_floats(pairs << 16);
        score[p][v + kHalf] += in * as_floats(pairs & ~0xffff);
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    Floats maxima = score[p][0];
    for (int v = 1; v < kVectors; ++v) maxima = score[p][v] > maxima ? score[p][v] : maxima;
    store(best + p * kLanes, maxima);
  }
}

// Writes best [panels, lanes], as coarse_panels does, for all panels. Element d of the vector is x[d * stride].
inline void coarse_scores(const NearestTask& t, const float* x, int stride, float* best) {
  const int count = panels(t.codewords);
  const size_t panel_words = static_cast<size_t>(t.dimensions) * kPanel / 2;
  int p = 0;
  for (; p + 3 <= count; p += 3)
    coarse_panels<3>(x, stride, t.coarse + p * panel_words, t.half_norms + p * kPanel, t.dimensions, best + p * kLanes);
  for (; p < count; ++p)
    coarse_panels<1>(x, stride, t.coarse + p * panel_words, t.half_norms + p * kPanel, t.dimensions, best + p * kLanes);
}

// Returns a threshold: a panel whose coarse scores are all below it does not hold the nearest codeword.
//
// The error of a coarse score is at most 2^-8 |z| |e| from bfloat16 (Cauchy-Schwarz), plus D roundings of
// |e|^2 / 2 + |z| |e| in each of the coarse and the exact sum (2 D roundings without FMA). The last term covers
// subnormal numbers.
inline float coarse_threshold(const NearestTask& t, const float* best, float squared_norm) {
  Floats lanes = load(best);
  for (int p = 1; p < panels(t.codewords); ++p) {
    const Floats other = load(best + p * kLanes);
    lanes = other > lanes ? other : lanes;
  }
  float largest = lanes[0];
  for (int lane = 1; lane < kLanes; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
  const double z = __builtin_sqrt(squared_norm), e = t.largest, rounding = 1.0 / (1 << 24);
  const double error = z * e / 256 + 4 * t.dimensions * rounding * (e * e / 2 + 1.01 * z * e) + 1e-30 * (1 + z);
  return static_cast<float>(largest - 2.02 * error - 1e-6 * __builtin_fabs(largest));
}

// Returns whether any lane reaches the threshold.
inline bool reaches(const float* best, float threshold) {
  int32_t lanes[kLanes], any = 0;
  const Ints reached = load(best) >= threshold;
  memcpy(lanes, &reached, sizeof lanes);
  for (int lane = 0; lane < kLanes; ++lane) any |= lanes[lane];
  return any != 0;
}

}  // namespace
