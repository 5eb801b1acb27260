// The loop over a split's codewords, tile by tile through double-buffered shared memory.
#pragma once

#include "plan.h"
#include "vectors.cuh"

namespace latentloop::nearest {

// Calls step(codeword, d, offset, is_last) for every tile of codewords from `first` to `last`, and for Depth dimensions
// of each tile at a time, beginning with dimension d; `is_last` marks the tile's last dimensions. Before that,
// fetch(codeword, d) has loaded the values into registers, and put(offset) has stored them in shared memory at
// `offset`. Shared memory holds two buffers of Tile elements; the values of the next step are fetched during the
// current step.
template <int Depth, int Tile, typename Fetch, typename Put, typename Step>
LATENTLOOP_DEVICE void for_each_tile(int first, int last, int dimensions, const Fetch& fetch, const Put& put,
                                     const Step& step) {
  fetch(first, 0);
  put(0);
  barrier();
  for (int codeword = first, d = 0, offset = 0; codeword < last; offset = Tile - offset) {
    const bool is_last = d + Depth >= dimensions;
    const int next_codeword = is_last ? codeword + kTileCodewords : codeword, next_d = is_last ? 0 : d + Depth;
    if (next_codeword < last) fetch(next_codeword, next_d);
    step(codeword, d, offset, is_last);
    if (next_codeword < last) put(Tile - offset);
    barrier();
    codeword = next_codeword;
    d = next_d;
  }
}

}  // namespace latentloop::nearest
