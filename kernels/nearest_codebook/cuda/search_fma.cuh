// The search by float32 FMA chains: a GEMM whose results are compared in registers and never stored.
//
// A block searches its split of the codebook for 128 vectors. It processes 128 codewords at a time, and 16 dimensions
// of them at a time, in shared memory. A thread computes 8 vectors by 8 codewords.
//
// FLOPs: 2 N K D. Bytes: N D values, and K D per 128 vectors (from L2). Bound: compute for K above about 50.
#pragma once

#include "partials.cuh"
#include "plan.h"
#include "tiles.cuh"
#include "vectors.cuh"

namespace latentloop::nearest {

constexpr int kFmaDepth{16};    // dimensions per tile
constexpr int kFmaStride{132};  // floats per row of a tile: a multiple of 16 bytes that avoids bank conflicts
constexpr int kFmaTile{kFmaDepth * kFmaStride};

// Stores a thread's part of a tile, 8 dimensions of one vector or codeword, transposed: tile [dimension, row].
template <typename T>
LATENTLOOP_DEVICE void store_transposed(const Shared<float>& tile, int offset, int row, int depth,
                                        const T (&values)[8]) {
  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) tile.set(offset + (depth + i) * kFmaStride + row, widen(values[i]));
}

// Loads eight values of one dimension: four at `at`, and four at `at` + 64, so that the loads of a warp are contiguous.
LATENTLOOP_DEVICE void load_eight(const Shared<float>& tile, int at, float (&values)[8]) {
  const Sixteen<float> low = tile.get_sixteen(at), high = tile.get_sixteen(at + 64);
  LATENTLOOP_UNROLL
  for (int i = 0; i < 4; ++i) values[i] = low.at[i], values[4 + i] = high.at[i];
}

// Returns the tile row (vector or codeword) of a thread's i-th value, i < 8.
LATENTLOOP_DEVICE int row_of(int group, int i) { return group * 4 + i % 4 + i / 4 * 64; }

template <typename T>
LATENTLOOP_DEVICE void search_fma(const Arguments& a) {
  LATENTLOOP_SHARED(float, z_tiles, 2 * kFmaTile);
  LATENTLOOP_SHARED(float, e_tiles, 2 * kFmaTile);
  LATENTLOOP_SHARED(float, norms, kTileVectors);
  const Vectors<T> vectors(a.z, a.positions, a.dimensions);
  const Vectors<T> codebook(a.codebook, 0, a.dimensions);
  const int64_t first_vector = block_x() * kTileVectors;
  const int first_codeword = block_y() * a.split_codewords;
  const int last = first_codeword + a.split_codewords < a.codewords ? first_codeword + a.split_codewords : a.codewords;

  // 1. This thread's 8 x 8 scores: vectors row_of(line, i), codewords row_of(column, j).
  const int thread = thread_index(), column = thread % 16, line = thread / 16;
  const int copied_row = thread % 128, copied_depth = thread / 128 * 8;
  float sums[8][8], best[8];
  int index[8];
  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) best[i] = -infinity(), index[i] = -1;

  // 2. This thread's part of the copies to shared memory: 8 dimensions of row copied_row, a vector and a codeword.
  T z_values[8], e_values[8];
  const bool z_live = first_vector + copied_row < a.vectors;
  const int64_t z_from = z_live ? vectors.base(first_vector + copied_row) : 0;
  const auto fetch = [&](int tile, int d) {
    vectors.fetch(z_from, z_live, d + copied_depth, z_values);
    codebook.fetch(codebook.base(tile + copied_row), tile + copied_row < last, d + copied_depth, e_values);
  };
  const auto put = [&](int to) {
    store_transposed(z_tiles, to, copied_row, copied_depth, z_values);
    store_transposed(e_tiles, to, copied_row, copied_depth, e_values);
  };

  // 3. The steps of the loop over tiles.
  const auto start_scores = [&](int codeword) {
    LATENTLOOP_UNROLL
    for (int j = 0; j < 8; ++j) {
      const int k = codeword + row_of(column, j);
      const float half_norm = k < last ? a.half_norms[k] : -infinity();
      LATENTLOOP_UNROLL
      for (int i = 0; i < 8; ++i) sums[i][j] = half_norm;
    }
  };
  const auto add_norms = [&](int d, int offset) {  // |z|^2, one vector per thread
    float norm = d == 0 ? 0 : norms.get(thread);
    for (int i = 0; i < kFmaDepth; ++i) {
      const float value = z_tiles.get(offset + i * kFmaStride + thread);
      norm = multiply_add(value, value, norm);
    }
    norms.set(thread, norm);
  };
  const auto add_products = [&](int offset) {
    LATENTLOOP_UNROLL
    for (int row = 0; row < kFmaTile; row += kFmaStride) {  // one dimension
      float z[8], e[8];
      load_eight(z_tiles, offset + row + line * 4, z);
      load_eight(e_tiles, offset + row + column * 4, e);
      LATENTLOOP_UNROLL
      for (int i = 0; i < 8; ++i) {
        LATENTLOOP_UNROLL
        for (int j = 0; j < 8; ++j) sums[i][j] = multiply_add(z[i], e[j], sums[i][j]);
      }
    }
  };
  const auto update_best = [&](int codeword) {
    LATENTLOOP_UNROLL
    for (int i = 0; i < 8; ++i) {
      LATENTLOOP_UNROLL
      for (int j = 0; j < 8; ++j)
        if (sums[i][j] > best[i]) best[i] = sums[i][j], index[i] = codeword + row_of(column, j);
    }
  };
  for_each_tile<kFmaDepth, kFmaTile>(first_codeword, last, a.dimensions, fetch, put,
                                     [&](int codeword, int d, int offset, bool is_last) {
                                       if (d == 0) start_scores(codeword);
                                       if (codeword == first_codeword && thread < kTileVectors) add_norms(d, offset);
                                       add_products(offset);
                                       if (is_last) update_best(codeword);
                                     });

  // 4. Merge the 16 threads of each vector, and write the split's result.
  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) {
    const Partial merged = across_lanes({best[i], index[i], -infinity(), 0}, 16);
    const int row = row_of(line, i);
    if (column == 0 && first_vector + row < a.vectors)
      a.partials[block_y() * a.vectors + first_vector + row] = {merged.best, merged.index, -infinity(), norms.get(row)};
  }
}

}  // namespace latentloop::nearest
