// ll_sample: images and codes of a request.
#pragma once

#include "request.h"
#include "sampler.h"

namespace latentloop {

// Where samples go: memory of the caller's.
struct Output {
  uint8_t* images;        // [count, H, W, C], or null
  int64_t* const* codes;  // [levels] of [count, H, W]; null, or null for some levels
};

// Draws the samples of a request. `finished` is always the number of samples in the output.
void sample(Sampler& sampler, const Request& request, const Output& output, int64_t& finished);

}  // namespace latentloop
