// The innermost product of every kernel here: M rows times one panel of weights, added to a block of sums.
//
// A panel holds kPanel outputs for K inputs, [K, kPanel], and is read front to back once: a step of the loop is bound
// by those bytes (one FMA per weight and row). M * kVectors sums live in registers; with M = 2 the FMA units are full.
#pragma once

#include "vector.h"

namespace {

constexpr int kVectors{4};
constexpr int kPanel{kVectors * kLanes};
constexpr int kCacheLine{64};
constexpr int kMostRows{LATENTLOOP_VECTOR_BYTES == 64 ? 6 : 3};  // sums + weights + inputs fit the registers

inline int panels(int outputs) { return (outputs + kPanel - 1) / kPanel; }

// sums[m][o] += sum over k of x[m][k] * panel[k][o], in the order of k whatever M is. Fetches a cache line of what
// follows every `stride` inputs, from `ahead` on (stride 0: none).
template <int M>
inline void multiply(const float* const* x, const float* panel, int inputs, float* sums, const char* ahead,
                     int stride) {
  Floats sum[M][kVectors];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < kVectors; ++v) sum[m][v] = load(sums + m * kPanel + v * kLanes);
  const float* rows[M];
  for (int m = 0; m < M; ++m) rows[m] = x[m];
  for (int k = 0, next = 0; k < inputs; ++k, panel += kPanel) {
    if (stride != 0 && k == next) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += kCacheLine;
      next += stride;
    }
    Floats in[M];
    for (int m = 0; m < M; ++m) in[m] = broadcast(rows[m][k]);
    for (int v = 0; v < kVectors; ++v) {
      const Floats weight = load(panel + v * kLanes);
      for (int m = 0; m < M; ++m) sum[m][v] += in[m] * weight;
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < kVectors; ++v) store(sums + m * kPanel + v * kLanes, sum[m][v]);
}

// The same for any number of rows, split evenly over the registers. With `fetch`, each split brings its share of the
// bytes that follow the panel into the cache: several splits compute on one panel, so memory would idle meanwhile.
inline void multiply_rows(const float* const* x, int rows, const float* panel, int inputs, float* sums, bool fetch) {
  int splits = (rows + kMostRows - 1) / kMostRows;
  const int lines = static_cast<int>(inputs * kPanel * sizeof(float) / kCacheLine);
  const int share = (lines + splits - 1) / splits;
  const int stride = !fetch ? 0 : inputs > share ? inputs / share : 1;
  const char* ahead = reinterpret_cast<const char*>(panel + static_cast<size_t>(inputs) * kPanel);
  for (int begin = 0; splits > 0; --splits) {
    const int count = (rows - begin + splits - 1) / splits;
    float* to = sums + begin * kPanel;
    switch (count) {
      case 1:
        multiply<1>(x + begin, panel, inputs, to, ahead, stride);
        break;
      case 2:
        multiply<2>(x + begin, panel, inputs, to, ahead, stride);
        break;
      case 3:
        multiply<3>(x + begin, panel, inputs, to, ahead, stride);
        break;
#if LATENTLOOP_VECTOR_BYTES == 64
      case 4:
        multiply<4>(x + begin, panel, inputs, to, ahead, stride);
        break;
      case 5:
        multiply<5>(x + begin, panel, inputs, to, ahead, stride);
        break;
      case 6:
        multiply<6>(x + begin, panel, inputs, to, ahead, stride);
        break;
#endif
    }
    begin += count;
    ahead += static_cast<size_t>(share) * kCacheLine;
  }
}

}  // namespace
