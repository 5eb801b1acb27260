// The launch plan of a search: grid sizes and workspace. Host code, used by all launchers.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arguments.h"

namespace latentloop::nearest {

constexpr int kThreads{256};  // per block, in every kernel
constexpr int kTileVectors{128};
constexpr int kTileCodewords{128};
constexpr int kResolvedVectors{kThreads / 32};  // per block of `resolve`: one warp each
constexpr int64_t kMostVectors{int64_t{1} << 31};

struct Plan {
  int64_t search_blocks;  // grid x; grid y is `splits`
  int64_t resolve_blocks;
  int64_t prepare_blocks;
  int64_t partials_bytes;
  int32_t splits;
  int32_t split_codewords;
};

// whole / part, rounded up.
inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// If there are too few vectors to keep the GPU busy, the codebook is split too, until every multiprocessor has about
// two blocks. Each split has whole tiles.
inline Plan plan(int64_t vectors, int32_t codewords, int32_t multiprocessors) {
  Plan p{};
  p.search_blocks = parts(vectors, kTileVectors);
  p.resolve_blocks = parts(vectors, kResolvedVectors);
  p.prepare_blocks = parts(codewords, kThreads);
  const int64_t tiles = parts(codewords, kTileCodewords);
  const int64_t target_splits = p.search_blocks ? parts(2 * int64_t{multiprocessors}, p.search_blocks) : 1;
  const int64_t tiles_each = parts(tiles, target_splits < tiles ? target_splits : tiles);
  p.split_codewords = static_cast<int32_t>(tiles_each * kTileCodewords);
  p.splits = static_cast<int32_t>(parts(codewords, p.split_codewords));
  p.partials_bytes = vectors * p.splits * static_cast<int64_t>(sizeof(Partial));
  return p;
}

}  // namespace latentloop::nearest
