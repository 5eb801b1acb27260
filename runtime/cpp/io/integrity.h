// Checks of a bundle's files against the sizes and SHA-256 digests that its manifest records.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file.h"

namespace latentloop {

// Returns the identity of the file `name` in `folder`. A link is followed. Throws Error (LL_BAD_BUNDLE) unless the file
// has this size in bytes and this SHA-256 in hexadecimal. `source`, for messages, is the manifest that records them.
Identity verify_file(const std::string& folder, const std::string& name, int64_t size, const std::string& sha256,
                     const std::string& source);

// Returns the content of a file. Throws Error (LL_BAD_BUNDLE) unless it has this size and this SHA-256.
std::vector<char> read_verified(File& file, int64_t size, const std::string& sha256);

}  // namespace latentloop
