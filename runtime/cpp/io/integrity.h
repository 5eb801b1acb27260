// Checks of a bundle's files against the sizes and SHA-256 digests that its manifest records.
#pragma once

#include <cstdint>
#include <string>

#include "file.h"

namespace latentloop {

// Returns the identity of the file `name` in `folder`. A link is followed. Throws Error (LL_BAD_BUNDLE) unless the file
// has this size in bytes and this SHA-256 in hexadecimal. `source`, for messages, is the manifest that records them.
Identity verify_file(const std::string& folder, const std::string& name, int64_t size, const std::string& sha256,
                     const std::string& source);

}  // namespace latentloop
