// The search by tensor cores, for 16-bit vectors. Scores are approximate; it stores the two largest, from which
// `resolve` decides whether rounding may have changed the result.
//
// A block searches its split of the codebook for 128 vectors. It processes 128 codewords at a time, and 32 dimensions
// of them at a time, in shared memory. Each of its 8 warps computes 32 vectors by 64 codewords.
//
// FLOPs: 2 N K D. Bytes: N D values, and K D per 128 vectors (from L2). Bound on an H100: memory bandwidth for K below
// about 600, otherwise compute.
#pragma once

#include <math.h>
#include <string.h>

#include "partials.cuh"
#include "plan.h"
#include "tiles.cuh"
#include "vectors.cuh"

namespace latentloop::nearest {

constexpr int kTensorDepth{32};                     // dimensions per tile
constexpr int kTensorStride{kTensorDepth / 2 + 4};  // pairs per row of a tile: no bank conflicts in a fragment's loads
constexpr int kTensorTile{kTileCodewords * kTensorStride};
static_assert(kTileVectors == kTileCodewords, "one tile size");

// Stores a thread's part of a tile: 16 dimensions of one vector or codeword.
template <typename T>
LATENTLOOP_DEVICE void store_pairs(const Shared<uint32_t>& tile, int at, const T (&values)[16]) {
  Sixteen<uint32_t> pairs[2];
  memcpy(pairs, values, sizeof pairs);
  tile.set_sixteen(at, pairs[0]);
  tile.set_sixteen(at + 4, pairs[1]);
}

template <typename T>
LATENTLOOP_DEVICE void search_tensor_cores(const Arguments& a) {
  LATENTLOOP_SHARED(uint32_t, z_tiles, 2 * kTensorTile);
  LATENTLOOP_SHARED(uint32_t, e_tiles, 2 * kTensorTile);
  LATENTLOOP_SHARED(float, best_of_half, kTileVectors);  // results of the warps of the second half of codewords
  LATENTLOOP_SHARED(float, second_of_half, kTileVectors);
  LATENTLOOP_SHARED(int, index_of_half, kTileVectors);
  LATENTLOOP_SHARED(float, norms, kTileVectors);
  const Vectors<T> vectors(a.z, a.positions, a.dimensions);
  const Vectors<T> codebook(a.codebook, 0, a.dimensions);
  const int64_t first_vector = block_x() * kTileVectors;
  const int first_codeword = block_y() * a.split_codewords;
  const int last = first_codeword + a.split_codewords < a.codewords ? first_codeword + a.split_codewords : a.codewords;

  // 1. This warp's vectors and half of the tile's codewords; this thread's scores in the fragments.
  const int thread = thread_index(), lane = thread % 32, warp = thread / 32;
  const int group = lane / 4, pair = lane % 4;  // g and t of the fragments
  const int warp_row = warp % 4 * 32, half = warp / 4;
  const int copied_row = thread % 128, copied_depth = thread / 128 * 16;
  float sums[2][8][4], best[4], second[4];  // of vectors g, g + 8, g + 16, g + 24 of the warp
  int index[4];
  LATENTLOOP_UNROLL
  for (int r = 0; r < 4; ++r) best[r] = second[r] = -infinity(), index[r] = -1;

  // 2. This thread's part of the copies to shared memory: 16 dimensions of row copied_row, a vector and a codeword.
  T z_values[16], e_values[16];
  const bool z_live = first_vector + copied_row < a.vectors;
  const int64_t z_from = z_live ? vectors.base(first_vector + copied_row) : 0;
  const auto fetch = [&](int tile, int d) {
    vectors.fetch(z_from, z_live, d + copied_depth, z_values);
    codebook.fetch(codebook.base(tile + copied_row), tile + copied_row < last, d + copied_depth, e_values);
  };
  const auto put = [&](int to) {
    const int at = to + copied_row * kTensorStride + copied_depth / 2;
    store_pairs(z_tiles, at, z_values);
    store_pairs(e_tiles, at, e_values);
  };

  // 3. The steps of the loop over tiles.
  const auto start_scores = [&](int codeword) {
    LATENTLOOP_UNROLL
    for (int j = 0; j < 8; ++j) {
      LATENTLOOP_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int k = codeword + half * 64 + j * 8 + pair * 2 + i;
        sums[0][j][i] = k < last ? a.half_norms[k] : -infinity();
        sums[0][j][2 + i] = sums[1][j][i] = sums[1][j][2 + i] = sums[0][j][i];
      }
    }
  };
  const auto add_norms = [&](int d, int offset) {  // |z|^2, one vector per thread
    float norm = d == 0 ? 0 : norms.get(thread);
    for (int word = 0; word < kTensorDepth / 2; ++word) {
      const uint32_t values = z_tiles.get(offset + thread * kTensorStride + word);
      T two[2];
      memcpy(two, &values, sizeof two);
      norm = multiply_add(widen(two[0]), widen(two[0]), norm);
      norm = multiply_add(widen(two[1]), widen(two[1]), norm);
    }
    norms.set(thread, norm);
  };
  const auto add_products = [&](int offset) {
    LATENTLOOP_UNROLL
    for (int depth = 0; depth < kTensorDepth / 2; depth += 8) {  // 16 dimensions
      uint32_t z[2][4];
      LATENTLOOP_UNROLL
      for (int r = 0; r < 8; ++r) {
        const int row = warp_row + r / 4 * 16 + r % 2 * 8 + group;
        z[r / 4][r % 4] = z_tiles.get(offset + row * kTensorStride + depth + r % 4 / 2 * 4 + pair);
      }
      LATENTLOOP_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int at = offset + (half * 64 + j * 8 + group) * kTensorStride + depth + pair;
        const uint32_t e[2] = {e_tiles.get(at), e_tiles.get(at + 4)};
        LATENTLOOP_UNROLL
        for (int m = 0; m < 2; ++m) multiply_matrices(T(0.0f), z[m], e, sums[m][j]);
      }
    }
  };
  const auto update_best = [&](int codeword) {
    LATENTLOOP_UNROLL
    for (int r = 0; r < 4; ++r) {
      LATENTLOOP_UNROLL
      for (int c = 0; c < 16; ++c) {
        const float score = sums[r / 2][c / 2][r % 2 * 2 + c % 2];
        second[r] = fmaxf(second[r], fminf(score, best[r]));
        if (score > best[r]) best[r] = score, index[r] = codeword + half * 64 + c / 2 * 8 + pair * 2 + c % 2;
      }
    }
  };
  for_each_tile<kTensorDepth, kTensorTile>(first_codeword, last, a.dimensions, fetch, put,
                                           [&](int codeword, int d, int offset, bool is_last) {
                                             if (d == 0) start_scores(codeword);
                                             if (codeword == first_codeword && thread < kTileVectors)
                                               add_norms(d, offset);
                                             add_products(offset);
                                             if (is_last) update_best(codeword);
                                           });

  // 4. Merge the 4 threads of each vector, then the two halves of codewords; write the split's result.
  Partial merged[4];
  LATENTLOOP_UNROLL
  for (int r = 0; r < 4; ++r) {
    const int row = warp_row + r * 8 + group;
    merged[r] = across_lanes({best[r], index[r], second[r], 0}, 4);
    if (half == 1 && pair == 0) {
      best_of_half.set(row, merged[r].best);
      second_of_half.set(row, merged[r].second);
      index_of_half.set(row, merged[r].index);
    }
  }
  barrier();
  LATENTLOOP_UNROLL
  for (int r = 0; r < 4; ++r) {
    const int row = warp_row + r * 8 + group;
    if (half == 0 && pair == 0 && first_vector + row < a.vectors) {
      merge(merged[r], {best_of_half.get(row), index_of_half.get(row), second_of_half.get(row), 0});
      merged[r].norm = norms.get(row);
      a.partials[block_y() * a.vectors + first_vector + row] = merged[r];
    }
  }
}

}  // namespace latentloop::nearest
