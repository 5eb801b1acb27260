// The kernel of NearestTask: the nearest codeword of each vector, on the CPU. kernels.h gives its bytes, FLOPs and
// bound.
// arguments.h defines the result.
//
// One work item is one block of vectors. It is transposed, and multiplied with one panel of codewords after the other.
// The scores of a few vectors and a panel stay in registers until they are compared, so N x K scores are never stored.
// Every SIMD lane keeps its own best score and index; the lanes are compared at the end. A single vector is searched
// after a coarse search (coarse.h).
#pragma once

#include "../../gemm/microkernel.h"
#include "../../gemm/thread_scratch.h"
#include "../../kernels.h"
#include "coarse.h"

namespace {

using latentloop::NearestTask;

constexpr int kBlock{48};  // vectors per item; with one panel of 64 dimensions they fit in L1
static_assert(kBlock % kMostRows == 0 && kBlock % kLanes == 0, "whole groups of rows and whole SIMD vectors");

inline void store(int32_t* to, Ints v) { memcpy(to, &v, sizeof v); }

// The best score and index of each lane, for every vector of a block.
struct LaneResults {
  float score[kBlock * kLanes];
  int32_t index[kBlock * kLanes];
};

// Number of columns of x that are computed if `count` hold vectors: one SIMD vector for a single vector, else a block.
inline int columns(int count) { return count == 1 ? kLanes : kBlock; }

// Copies vectors first .. first + count to x [D, kBlock], transposed; columns beyond the last vector are 0.
inline void stage(const NearestTask& t, int64_t first, int count, float* x) {
  const size_t dimensions = static_cast<size_t>(t.dimensions);
  if (count < kBlock)
    for (size_t d = 0; d < dimensions; ++d) memset(x + d * kBlock, 0, columns(count) * sizeof(float));
  if (t.positions == 0) {
    const float* z = t.z + static_cast<size_t>(first) * dimensions;
    for (int v = 0; v < count; ++v, z += dimensions)
      for (size_t d = 0; d < dimensions; ++d) x[d * kBlock + v] = z[d];
    return;
  }
  for (int begin = 0, run = 0; begin < count; begin += run) {  // one run per image
    const int64_t image = (first + begin) / t.positions, position = (first + begin) % t.positions;
    const int64_t rest = t.positions - position;
    run = rest < count - begin ? static_cast<int>(rest) : count - begin;
    const float* z = t.z + static_cast<size_t>(image * t.dimensions * t.positions + position);
    for (size_t d = 0; d < dimensions; ++d, z += t.positions)
      for (int v = 0; v < run; ++v) x[d * kBlock + begin + v] = z[v];
  }
}

// Writes |z|^2 of R SIMD vectors of columns.
template <int R>
inline void squared_norms(const float* x, int dimensions, float* norm) {
  Floats sum[R] = {};
  for (int d = 0; d < dimensions; ++d, x += kBlock)
    for (int v = 0; v < R; ++v) {
      const Floats value = load(x + v * kLanes);
      sum[v] += value * value;
    }
  for (int v = 0; v < R; ++v) store(norm + v * kLanes, sum[v]);
}

// Scores M vectors, columns x[0] to x[M - 1], against one panel, and updates the best of each lane. `codeword` holds
// the codeword indices of the panel's first SIMD vector.
template <int M>
inline void search_panel(const float* x, const float* panel, const float* half_norms, int dimensions, Ints codeword,
                         float* best_score, int32_t* best_index) {
  Floats score[M][kVectors];
  for (int v = 0; v < kVectors; ++v)
    for (int m = 0; m < M; ++m) score[m][v] = load(half_norms + v * kLanes);
  for (int d = 0; d < dimensions; ++d, x += kBlock, panel += kPanel) {
    Floats in[M];
    for (int m = 0; m < M; ++m) in[m] = broadcast(x[m]);
    for (int v = 0; v < kVectors; ++v) {
      const Floats weight = load(panel + v * kLanes);
      for (int m = 0; m < M; ++m) score[m][v] += in[m] * weight;
    }
  }
  for (int m = 0; m < M; ++m, best_score += kLanes, best_index += kLanes) {
    Floats best = load(best_score);
    Ints index = load(best_index);
    for (int v = 0; v < kVectors; ++v) {  // in increasing order of the index, so that the lowest of equal scores stays
      const Ints better = score[m][v] > best;
      best = better ? score[m][v] : best;
      index = better ? codeword + v * kLanes : index;
    }
    store(best_score, best);
    store(best_index, index);
  }
}

inline Ints first_lanes() {
  Ints codeword;
  for (int lane = 0; lane < kLanes; ++lane) codeword[lane] = lane;
  return codeword;
}

// Scores a block of vectors against all panels.
inline void search_block(const NearestTask& t, const float* x, int count, LaneResults& lanes) {
  const float *panel = t.packed, *half_norms = t.half_norms;
  Ints codeword = first_lanes();
  for (int p = 0; p < panels(t.codewords); ++p, panel += t.dimensions * kPanel, half_norms += kPanel) {
    for (int v = 0; v < count; v += kMostRows)
      search_panel<kMostRows>(x + v, panel, half_norms, t.dimensions, codeword, lanes.score + v * kLanes,
                              lanes.index + v * kLanes);
    codeword += kPanel;
  }
}

// Scores a single vector against the panels that may hold its nearest codeword; coarse [panels, lanes] is scratch
// memory.
inline void search_single(const NearestTask& t, const float* x, float squared_norm, float* coarse, LaneResults& lanes) {
  const bool is_coarse = t.largest <= kMostCoarse && squared_norm <= kMostCoarse * kMostCoarse;
  if (is_coarse) coarse_scores(t, x, kBlock, coarse);
  const float threshold = is_coarse ? coarse_threshold(t, coarse, squared_norm) : 0;
  for (int p = 0; p < panels(t.codewords); ++p) {
    if (is_coarse && !reaches(coarse + p * kLanes, threshold)) continue;
    search_panel<1>(x, t.packed + static_cast<size_t>(p) * t.dimensions * kPanel, t.half_norms + p * kPanel,
                    t.dimensions, first_lanes() + p * kPanel, lanes.score, lanes.index);
  }
}

// Returns the index of the largest score over the lanes of one vector, the lowest of equal ones; -1: no codeword.
inline int32_t best_of_lanes(const float* score, const int32_t* index) {
  int best = 0;
  for (int lane = 1; lane < kLanes; ++lane)
    if (score[lane] > score[best] || (score[lane] == score[best] && index[lane] < index[best])) best = lane;
  return index[best];
}

// Writes the distance and the codeword of vector n, column x[0]; `codeword` null: it has no nearest codeword.
inline void write_distance_and_codeword(const NearestTask& t, const float* x, int64_t n, const float* codeword) {
  const float nan = __builtin_nanf("");
  if (t.distance != nullptr) {
    float sum = codeword == nullptr ? nan : 0;
    for (int d = 0; codeword != nullptr && d < t.dimensions; ++d) {
      const float difference = x[d * kBlock] - codeword[d * kPanel];
      sum += difference * difference;
    }
    t.distance[n] = sum;
  }
  if (t.codeword != nullptr) {
    const int64_t stride = t.positions == 0 ? 1 : t.positions;
    const int64_t position = n % stride;
    float* to = t.codeword + (n - position) * t.dimensions + position;
    for (int d = 0; d < t.dimensions; ++d, to += stride) *to = codeword == nullptr ? nan : codeword[d * kPanel];
  }
}

size_t nearest_items(const NearestTask& t) { return static_cast<size_t>((t.vectors + kBlock - 1) / kBlock); }

bool nearest(const NearestTask& t, size_t item) {
  // 1. Copy the block's vectors to x.
  static thread_local ThreadScratch scratch;
  const int64_t first = static_cast<int64_t>(item) * kBlock, remaining = t.vectors - first;
  const int count = remaining < kBlock ? static_cast<int>(remaining) : kBlock;
  const size_t x_floats = static_cast<size_t>(t.dimensions) * kBlock;
  float* x = scratch.at_least(x_floats + (count == 1 ? static_cast<size_t>(panels(t.codewords)) * kLanes : 0));
  if (x == nullptr) return false;
  stage(t, first, count, x);

  // 2. Search.
  float norm[kBlock];
  LaneResults lanes;
  for (int v = 0; v < columns(count) * kLanes; ++v) lanes.score[v] = -__builtin_inff(), lanes.index[v] = -1;
  if (count == 1) {
    squared_norms<1>(x, t.dimensions, norm);
    search_single(t, x, norm[0], x + x_floats, lanes);
  } else {
    squared_norms<kBlock / kLanes>(x, t.dimensions, norm);
    search_block(t, x, count, lanes);
  }

  // 3. Compare the lanes and write the outputs.
  for (int v = 0; v < count; ++v) {
    const bool is_finite = norm[v] < __builtin_inff();
    const int32_t index = is_finite ? best_of_lanes(lanes.score + v * kLanes, lanes.index + v * kLanes) : -1;
    t.index[first + v] = index;
    const size_t panel = static_cast<size_t>(index) / kPanel * t.dimensions * kPanel;
    const float* codeword = index < 0 ? nullptr : t.packed + panel + index % kPanel;
    write_distance_and_codeword(t, x + v, first + v, codeword);
  }
  return true;
}

}  // namespace
