// Drawing samples in batches of equal size.
#pragma once

#include <functional>
#include <vector>

#include "request.h"
#include "sampler.h"

namespace latentloop {

// A sample to draw: it is like sample `index` of a request, with a seed of its own.
struct Draw {
  int64_t index;
  uint64_t seed;
};

// A finished batch: samples first ... first + n - 1 of the run. Its arrays have `size` samples, of which those beyond n
// are copies of the last one.
struct Batch {
  int64_t first, n, size;
  std::vector<uint64_t> seeds;              // [size]
  std::vector<int64_t> labels;              // [size]
  std::vector<std::vector<int64_t>> codes;  // by level, [size, H, W]
};

// Draws `count` samples, described by `draw`, and calls `finish` for every finished batch. Throws Error, with
// LL_CANCELLED if the sampler or the request's progress function cancelled.
void draw_batches(Sampler& sampler, const Request& request, int64_t count, const std::function<Draw(int64_t)>& draw,
                  const std::function<void(const Batch&)>& finish);

// Starts to decode a batch to images [n, H, W, C].
std::unique_ptr<Decoding> decode_batch(Sampler& sampler, const Batch& batch, uint8_t* images);

}  // namespace latentloop
