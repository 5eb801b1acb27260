// ll_encode, ll_decode and ll_classify: images and codes in batches.
#pragma once

#include "sampler.h"

namespace latentloop {

// Throws Error (LL_INVALID_ARGUMENT) for a bundle without a classifier.
void check_classifier(const Manifest& manifest);

// Throws Error (LL_INVALID_ARGUMENT) unless there are codes of every level [count, H, W], from 0 to K - 1. Those in
// memory of a GPU are copied to the host for that.
void check_codes(Sampler& sampler, const int64_t* const* codes, int64_t count);

// Like `check_codes`, but allows -1, if the bundle's decoder does, and does not read memory of a GPU.
void check_codes_to_decode(Sampler& sampler, const int64_t* const* codes, int64_t count);

// Arrays are those of the functions of the C interface, checked.
void encode(Sampler& sampler, const uint8_t* images, int64_t count, int64_t* const* codes);
void decode(Sampler& sampler, const int64_t* const* codes, int64_t count, uint8_t* images);
void classify(Sampler& sampler, const uint8_t* images, int64_t count, float* probabilities);

}  // namespace latentloop
