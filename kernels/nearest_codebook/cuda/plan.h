// How a search is laid out on a GPU: host code, used by every launcher.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arguments.h"

namespace latentloop::nearest {

constexpr int kThreads{256};  // of a block, in every kernel
constexpr int kTileVectors{128};
constexpr int kTileCodewords{128};
constexpr int kResolvedVectors{kThreads / 32};  // a block's: one warp each
constexpr int64_t kMostVectors{int64_t{1} << 31};

struct Plan {
  int64_t search_blocks;  // grid x; y is `splits`
  int64_t resolve_blocks;
  int64_t prepare_blocks;
  int64_t partials_bytes;
  int32_t splits;
  int32_t split_codewords;
};

inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Few vectors would leave most of the GPU idle, so they split the codebook instead, until every multiprocessor has two
// blocks; each split has whole tiles.
inline Plan plan(int64_t vectors, int32_t codewords, int32_t multiprocessors) {
  Plan p{};
  p.search_blocks = parts(vectors, kTileVectors);
  p.resolve_blocks = parts(vectors, kResolvedVectors);
  p.prepare_blocks = parts(codewords, kThreads);
  const int64_t tiles = parts(codewords, kTileCodewords);
  const int64_t wanted = p.search_blocks ? parts(2 * int64_t{multiprocessors}, p.search_blocks) : 1;
  const int64_t tiles_each = parts(tiles, wanted < tiles ? wanted : tiles);
  p.split_codewords = static_cast<int32_t>(tiles_each * kTileCodewords);
  p.splits = static_cast<int32_t>(parts(codewords, p.split_codewords));
  p.partials_bytes = vectors * p.splits * static_cast<int64_t>(sizeof(Partial));
  return p;
}

}  // namespace latentloop::nearest
