// The search by float32 FMA chains: a matrix product whose results are compared in registers and never stored.
//
// A block takes 128 vectors through its split of the codebook, 128 codewords at a time, 16 dimensions at a time through
// shared memory; a thread takes 8 vectors by 8 codewords. FLOPs: 2 N K D. Bytes: N D values, and K D for each 128
// vectors (from the second cache). Floor: FLOPs, for K above about 50.
#pragma once

#include "partial.cuh"
#include "plan.h"
#include "tiles.cuh"
#include "vectors.cuh"

namespace latentloop::nearest {

constexpr int kExactDepth{16};    // dimensions of a tile
constexpr int kExactStride{132};  // of a tile's rows, in floats: a multiple of 16 bytes that spreads over the banks
constexpr int kExactTile{kExactDepth * kExactStride};

// The half of a tile's row that a thread moves: 8 dimensions of one vector or codeword.
template <typename T>
LATENTLOOP_DEVICE void store_transposed(const Shared<float>& tile, int offset, int row, int depth,
                                        const T (&values)[8]) {
  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) tile.set(offset + (depth + i) * kExactStride + row, widen(values[i]));
}

// Eight values of a tile's row: four from `at`, and four from 64 later, so that a warp's loads lie side by side.
LATENTLOOP_DEVICE void load_eight(const Shared<float>& tile, int at, float (&values)[8]) {
  const Sixteen<float> low = tile.get_sixteen(at), high = tile.get_sixteen(at + 64);
  LATENTLOOP_UNROLL
  for (int i = 0; i < 4; ++i) values[i] = low.at[i], values[4 + i] = high.at[i];
}

// Which of a tile's rows is the i-th of a thread's eight.
LATENTLOOP_DEVICE int row_of(int group, int i) { return group * 4 + i % 4 + i / 4 * 64; }

template <typename T>
LATENTLOOP_DEVICE void search_exact(const Arguments& a) {
  LATENTLOOP_SHARED(float, z_tiles, 2 * kExactTile);
  LATENTLOOP_SHARED(float, e_tiles, 2 * kExactTile);
  LATENTLOOP_SHARED(float, norms, kTileVectors);
  const Vectors<T> vectors(a.z, a.positions, a.dimensions);
  const Vectors<T> codebook(a.codebook, 0, a.dimensions);
  const int64_t first_vector = block_x() * kTileVectors;
  const int first_codeword = block_y() * a.split_codewords;
  const int last = first_codeword + a.split_codewords < a.codewords ? first_codeword + a.split_codewords : a.codewords;

  const int thread = thread_index(), column = thread % 16, line = thread / 16;
  const int moved_row = thread % 128, moved_depth = thread / 128 * 8;
  float sums[8][8], best[8];
  int index[8];
  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) best[i] = -infinity(), index[i] = -1;

  T z_moved[8], e_moved[8];
  const bool z_live = first_vector + moved_row < a.vectors;
  const int64_t z_from = z_live ? vectors.base(first_vector + moved_row) : 0;
  const auto fetch = [&](int tile, int d) {
    vectors.fetch(z_from, z_live, d + moved_depth, z_moved);
    codebook.fetch(codebook.base(tile + moved_row), tile + moved_row < last, d + moved_depth, e_moved);
  };
  const auto put = [&](int to) {
    store_transposed(z_tiles, to, moved_row, moved_depth, z_moved);
    store_transposed(e_tiles, to, moved_row, moved_depth, e_moved);
  };
  const auto step = [&](int codeword, int d, int offset, bool ends) {
    if (d == 0) {
      LATENTLOOP_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int k = codeword + row_of(column, j);
        const float half_norm = k < last ? a.half_norms[k] : -infinity();
        LATENTLOOP_UNROLL
        for (int i = 0; i < 8; ++i) sums[i][j] = half_norm;
      }
    }
    if (codeword == first_codeword && thread < kTileVectors) {
      float norm = d == 0 ? 0 : norms.get(thread);
      for (int i = 0; i < kExactDepth; ++i) {
        const float value = z_tiles.get(offset + i * kExactStride + thread);
        norm = multiply_add(value, value, norm);
      }
      norms.set(thread, norm);
    }
    LATENTLOOP_UNROLL
    for (int row = 0; row < kExactTile; row += kExactStride) {  // of one dimension
      float z[8], e[8];
      load_eight(z_tiles, offset + row + line * 4, z);
      load_eight(e_tiles, offset + row + column * 4, e);
      LATENTLOOP_UNROLL
      for (int i = 0; i < 8; ++i) {
        LATENTLOOP_UNROLL
        for (int j = 0; j < 8; ++j) sums[i][j] = multiply_add(z[i], e[j], sums[i][j]);
      }
    }
    if (ends) {
      LATENTLOOP_UNROLL
      for (int i = 0; i < 8; ++i) {
        LATENTLOOP_UNROLL
        for (int j = 0; j < 8; ++j)
          if (sums[i][j] > best[i]) best[i] = sums[i][j], index[i] = codeword + row_of(column, j);
      }
    }
  };
  for_each_tile<kExactDepth, kExactTile>(first_codeword, last, a.dimensions, fetch, put, step);

  LATENTLOOP_UNROLL
  for (int i = 0; i < 8; ++i) {
    const Partial found = across_lanes({best[i], index[i], -infinity(), 0}, 16);
    const int row = row_of(line, i);
    if (column == 0 && first_vector + row < a.vectors)
      a.partials[block_y() * a.vectors + first_vector + row] = {found.best, found.index, -infinity(), norms.get(row)};
  }
}

}  // namespace latentloop::nearest
