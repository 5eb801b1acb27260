// The order in which a block takes a split's codewords through shared memory.
#pragma once

#include "plan.h"
#include "vectors.cuh"

namespace latentloop::nearest {

// Calls step(codeword, d, offset, ends) for every tile of codewords from `first` to `last` and of each for Depth
// dimensions at a time: what fetch(codeword, d) brought into registers and put(offset) into shared memory is at
// `offset`; `ends` marks a tile's last dimensions. The next step's values are on their way meanwhile, into the other of
// two halves of Tile elements.
template <int Depth, int Tile, typename Fetch, typename Put, typename Step>
LATENTLOOP_DEVICE void for_each_tile(int first, int last, int dimensions, const Fetch& fetch, const Put& put,
                                     const Step& step) {
  fetch(first, 0);
  put(0);
  barrier();
  for (int codeword = first, d = 0, offset = 0; codeword < last; offset = Tile - offset) {
    const bool ends = d + Depth >= dimensions;
    const int next_codeword = ends ? codeword + kTileCodewords : codeword, next_d = ends ? 0 : d + Depth;
    if (next_codeword < last) fetch(next_codeword, next_d);
    step(codeword, d, offset, ends);
    if (next_codeword < last) put(Tile - offset);
    barrier();
    codeword = next_codeword;
    d = next_d;
  }
}

}  // namespace latentloop::nearest
