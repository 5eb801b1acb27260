// The check of the codes that a step has drawn.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "../errors.h"

namespace latentloop {

// Returns the error for a level whose logits are not finite. `folder` is the bundle's.
inline Error not_finite(const std::string& folder, const std::string& level) {
  return {LL_BAD_BUNDLE, text(folder, ": ", level, " has logits that are not finite numbers")};
}

// Throws Error if one of the codes is not less than the codebook size, which a step draws from such logits.
inline void check_drawn(const std::string& folder, const std::string& level, int64_t codebook_size,
                        const int64_t* codes, int64_t count) {
  const auto is_wrong = [codebook_size](int64_t code) { return code < 0 || code >= codebook_size; };
  if (std::any_of(codes, codes + count, is_wrong)) throw not_finite(folder, level);
}

}  // namespace latentloop
