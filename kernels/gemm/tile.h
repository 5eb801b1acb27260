// The innermost product of every kernel here: M rows times one panel of weights, added to a block of sums.
//
// A panel holds kPanel outputs for K inputs, [K, kPanel], and is read front to back once: a step of the loop is bound
// by those bytes (one FMA per weight and row). M * kVectors sums live in registers; with M = 2 the FMA units are full.
#pragma once

#include "stored.h"
#include "vector.h"

namespace {

constexpr int kVectors{4};
constexpr int kPanel{kVectors * kLanes};
constexpr int kCacheLine{64};
constexpr int kAhead{2048};  // bytes: a compact panel is streamed, and the processor's own look-ahead ends with a page
constexpr int kPart{128};  // inputs of a panel handled at once where several splits share it: they fit the first cache
constexpr int kMostRows{LATENTLOOP_VECTOR_BYTES == 64 ? 6 : 3};  // sums + weights + inputs fit the registers

inline int panels(int outputs) { return (outputs + kPanel - 1) / kPanel; }

// sums[m][o] += sum over k of x[m][k] * panel[k][o], in the order of k whatever M is; the panel's weights have `Bytes`
// bytes. Fetches a cache line of what follows every `stride` inputs, from `ahead` on (stride 0: none).
template <int Bytes, int M>
inline void multiply(const float* const* x, const uint8_t* panel, int inputs, float* sums, const uint8_t* ahead,
                     int stride) {
  Floats sum[M][kVectors];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < kVectors; ++v) sum[m][v] = load(sums + m * kPanel + v * kLanes);
  const float* rows[M];
  for (int m = 0; m < M; ++m) rows[m] = x[m];
  for (int k = 0, next = 0; k < inputs; ++k, panel += kPanel * Bytes) {
    if (stride != 0 && k == next) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += kCacheLine;
      next += stride;
    }
    if (Bytes != 4)
      for (int byte = 0; byte < kPanel * Bytes; byte += kCacheLine) __builtin_prefetch(panel + kAhead + byte);
    Floats in[M];
    for (int m = 0; m < M; ++m) in[m] = broadcast(rows[m][k]);
    for (int v = 0; v < kVectors; ++v) {
      const Floats weight = weights_at<Bytes>(panel + v * kLanes * Bytes);
      for (int m = 0; m < M; ++m) sum[m][v] += in[m] * weight;
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < kVectors; ++v) store(sums + m * kPanel + v * kLanes, sum[m][v]);
}

template <int Bytes>
inline void multiply_split(const float* const* x, int count, const uint8_t* panel, int inputs, float* sums,
                           const uint8_t* ahead, int stride) {
  switch (count) {
    case 1:
      return multiply<Bytes, 1>(x, panel, inputs, sums, ahead, stride);
    case 2:
      return multiply<Bytes, 2>(x, panel, inputs, sums, ahead, stride);
    case 3:
      return multiply<Bytes, 3>(x, panel, inputs, sums, ahead, stride);
#if LATENTLOOP_VECTOR_BYTES == 64
    case 4:
      return multiply<Bytes, 4>(x, panel, inputs, sums, ahead, stride);
    case 5:
      return multiply<Bytes, 5>(x, panel, inputs, sums, ahead, stride);
    case 6:
      return multiply<Bytes, 6>(x, panel, inputs, sums, ahead, stride);
#endif
  }
}

// The same for any number of rows, split evenly over the registers. With several splits compact weights are unpacked
// once, a part at a time; and each split brings its share of what is needed `next` (or null) into the cache, for memory
// would idle meanwhile.
template <int Bytes>
inline void multiply_rows(const float* const* x, int rows, const uint8_t* panel, int inputs, float* sums,
                          const uint8_t* next) {
  const int splits = (rows + kMostRows - 1) / kMostRows;
  if (splits == 1) return multiply_split<Bytes>(x, rows, panel, inputs, sums, nullptr, 0);
  float unpacked[kPart * kPanel];
  const float* part_x[kMostRows];
  for (int first = 0; first < inputs; first += kPart) {
    const int part = inputs - first < kPart ? inputs - first : kPart;
    const uint8_t* from = panel + static_cast<size_t>(first) * kPanel * Bytes;
    const uint8_t* weights = from;
    if (Bytes != 4) {
      for (int w = 0; w < part * kPanel; w += kLanes) store(unpacked + w, weights_at<Bytes>(from + w * Bytes));
      weights = reinterpret_cast<const uint8_t*>(unpacked);
    }
    const int lines = part * kPanel * Bytes / kCacheLine, share = (lines + splits - 1) / splits;
    const int stride = next == nullptr || share == 0 ? 0 : part > share ? part / share : 1;
    const uint8_t* ahead = next == nullptr ? nullptr : next + (from - panel);
    for (int begin = 0, split = splits; split > 0; --split) {
      const int count = (rows - begin + split - 1) / split;
      for (int m = 0; m < count; ++m) part_x[m] = x[begin + m] + first;
      multiply_split<4>(part_x, count, weights, part, sums + begin * kPanel, ahead, stride);
      begin += count;
      if (next != nullptr) ahead += static_cast<size_t>(share) * kCacheLine;
    }
  }
}

inline void multiply_rows(int bytes, const float* const* x, int rows, const uint8_t* panel, int inputs, float* sums,
                          const uint8_t* next) {
  switch (bytes) {
    case 1:
      return multiply_rows<1>(x, rows, panel, inputs, sums, next);
    case 2:
      return multiply_rows<2>(x, rows, panel, inputs, sums, next);
    case 3:
      return multiply_rows<3>(x, rows, panel, inputs, sums, next);
    default:
      return multiply_rows<4>(x, rows, panel, inputs, sums, next);
  }
}

// sums[m][o] *= scale[o].
inline void scale_sums(float* sums, int rows, const float* scale) {
  for (int m = 0; m < rows; ++m)
    for (int v = 0; v < kPanel; v += kLanes)
      store(sums + m * kPanel + v, load(sums + m * kPanel + v) * load(scale + v));
}

}  // namespace
