// The GEMM microkernel that all CPU kernels use: M rows of inputs times one panel of weights, added to a block of sums.
//
// A panel holds the weights of kPanel neighbouring outputs for K inputs, [K, kPanel], and is read once, front to back.
// Bytes: 1 to 4 per weight. FLOPs: 2 M per weight. Bound: memory bandwidth in a step, which has one or two rows.
// M * kVectors vectors of sums stay in registers; M = 2 already saturates the FMA units.
#pragma once

#include "load_weights.h"
#include "simd.h"

namespace {

constexpr int kVectors{4};
constexpr int kPanel{kVectors * kLanes};
constexpr int kCacheLine{64};
// Prefetch distance in a fixed-point panel: some 20 inputs. The hardware prefetcher stops at the end of a page.
constexpr int kPrefetchBytes{64 * LATENTLOOP_VECTOR_BYTES};
// Inputs that are processed at once if row groups share a panel: their weights fit in L1.
constexpr int kPart{128};
// Rows whose sums fit in the registers, together with weights and inputs.
constexpr int kMostRows{LATENTLOOP_VECTOR_BYTES == 64 ? 6 : 3};

inline int panels(int outputs) { return (outputs + kPanel - 1) / kPanel; }

// sums[m][o] += sum over k of x[m][k] * panel[k][o], for a panel of `V` vectors. Adds in the order of k for every M and
// V, so that a sum depends neither on the number of rows nor on the width of the panel. The panel's weights have
// `Bytes` bytes. Every `stride` inputs it prefetches one cache line, beginning at `ahead`; if stride is 0, it
// prefetches fixed-point weights of this panel. With `Keep` it stores the weights as float32 in `unpacked`.
template <int Bytes, int M, int V = kVectors, bool Keep = false>
inline void multiply(const float* const* x, const uint8_t* panel, int inputs, float* sums, const uint8_t* ahead,
                     int stride, float* unpacked = nullptr) {
  Floats sum[M][V];
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) sum[m][v] = load(sums + (m * V + v) * kLanes);
  const float* rows[M];
  for (int m = 0; m < M; ++m) rows[m] = x[m];
  for (int k = 0, next = 0; k < inputs; ++k, panel += V * kLanes * Bytes) {
    if (stride != 0 && k == next) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += kCacheLine;
      next += stride;
    }
    if (Bytes != 4 && stride == 0)
      for (int byte = 0; byte < V * kLanes * Bytes; byte += kCacheLine)
        __builtin_prefetch(panel + kPrefetchBytes + byte);
    Floats in[M];
    for (int m = 0; m < M; ++m) in[m] = broadcast(rows[m][k]);
    for (int v = 0; v < V; ++v) {
      const Floats weight = weights_at<Bytes>(panel + v * kLanes * Bytes);
      if (Keep) store(unpacked + (static_cast<size_t>(k) * V + v) * kLanes, weight);
      for (int m = 0; m < M; ++m) sum[m][v] += in[m] * weight;
    }
  }
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) store(sums + (m * V + v) * kLanes, sum[m][v]);
}

// multiply() for a number of rows, at most kMostRows, that is known only at run time.
template <int Bytes, int V = kVectors, bool Keep = false>
inline void multiply_few(const float* const* x, int count, const uint8_t* panel, int inputs, float* sums,
                         const uint8_t* ahead, int stride, float* unpacked = nullptr) {
  switch (count) {
    case 1:
      return multiply<Bytes, 1, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
    case 2:
      return multiply<Bytes, 2, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
    case 3:
      return multiply<Bytes, 3, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
#if LATENTLOOP_VECTOR_BYTES == 64
    case 4:
      return multiply<Bytes, 4, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
    case 5:
      return multiply<Bytes, 5, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
    case 6:
      return multiply<Bytes, 6, V, Keep>(x, panel, inputs, sums, ahead, stride, unpacked);
#endif
  }
}

// multiply() for any number of rows, split evenly into groups that fit in the registers. If there are several groups,
// the first one converts fixed-point weights to float32 for all, kPart inputs at a time, and each group prefetches its
// share of the panel `next` (or null), because memory is idle in the meantime.
template <int Bytes, int V = kVectors>
inline void multiply_rows(const float* const* x, int rows, const uint8_t* panel, int inputs, float* sums,
                          const uint8_t* next) {
  constexpr int kWidth{V * kLanes};
  const int groups = (rows + kMostRows - 1) / kMostRows;
  if (groups == 1) return multiply_few<Bytes, V>(x, rows, panel, inputs, sums, nullptr, 0);
  float unpacked[kPart * kWidth];
  const float* part_x[kMostRows];
  for (int first = 0; first < inputs; first += kPart) {
    const int part = inputs - first < kPart ? inputs - first : kPart;
    const uint8_t* from = panel + static_cast<size_t>(first) * kWidth * Bytes;
    const int lines = part * kWidth * Bytes / kCacheLine, share = (lines + groups - 1) / groups;
    const int stride = next == nullptr || share == 0 ? 0 : part > share ? part / share : 1;
    const uint8_t* ahead = next == nullptr ? nullptr : next + (from - panel);
    for (int begin = 0, left = groups; left > 0; --left) {
      const int count = (rows - begin + left - 1) / left;
      for (int m = 0; m < count; ++m) part_x[m] = x[begin + m] + first;
      if (Bytes == 4) {
        multiply_few<4, V>(part_x, count, from, part, sums + begin * kWidth, ahead, stride);
      } else if (begin == 0) {
        multiply_few<Bytes, V, true>(part_x, count, from, part, sums, ahead, stride, unpacked);
      } else {
        multiply_few<4, V>(part_x, count, reinterpret_cast<const uint8_t*>(unpacked), part, sums + begin * kWidth,
                           ahead, stride);
      }
      begin += count;
      if (next != nullptr) ahead += static_cast<size_t>(share) * kCacheLine;
    }
  }
}

// The same for a number of bytes that is known only at run time.
template <int V = kVectors>
inline void multiply_rows(int bytes, const float* const* x, int rows, const uint8_t* panel, int inputs, float* sums,
                          const uint8_t* next) {
  switch (bytes) {
    case 1:
      return multiply_rows<1, V>(x, rows, panel, inputs, sums, next);
    case 2:
      return multiply_rows<2, V>(x, rows, panel, inputs, sums, next);
    case 3:
      return multiply_rows<3, V>(x, rows, panel, inputs, sums, next);
    default:
      return multiply_rows<4, V>(x, rows, panel, inputs, sums, next);
  }
}

// sums[m][o] *= scale[o].
template <int V = kVectors>
inline void scale_sums(float* sums, int rows, const float* scale) {
  for (int m = 0; m < rows; ++m)
    for (int v = 0; v < V; ++v) {
      float* to = sums + (m * V + v) * kLanes;
      store(to, load(to) * load(scale + v * kLanes));
    }
}

}  // namespace
