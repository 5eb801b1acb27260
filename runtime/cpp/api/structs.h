// Reading of the caller's structs, which begin with their size: those of earlier headers are smaller, those of later
// ones larger.
#pragma once

#include <algorithm>
#include <cstring>

#include "../errors.h"

namespace latentloop {

// Returns the caller's parameters, with `defaults` for fields that they lack; `oldest` is the size in the first
// release. Throws Error (LL_INVALID_ARGUMENT) for a size that no header has, and for fields that this library does not
// know.
template <typename Params>
Params read_params(const Params* given, Params defaults, size_t oldest) {
  if (given == nullptr) return defaults;
  const size_t size = given->size;
  if (size < oldest || size > 4096)
    throw Error(LL_INVALID_ARGUMENT, text("params->size is ", size, ", expected ", sizeof(Params),
                                          ": begin with ll_default_sampler_params() or ll_default_sample_params()"));
  const auto* bytes = reinterpret_cast<const char*>(given);
  const auto is_zero = [](char byte) { return byte == 0; };
  if (size > sizeof(Params) && !std::all_of(bytes + sizeof(Params), bytes + size, is_zero))
    throw Error(LL_INVALID_ARGUMENT, "params has fields that this library does not know: use a newer library");
  std::memcpy(&defaults, given, std::min(size, sizeof(Params)));
  return defaults;
}

}  // namespace latentloop
