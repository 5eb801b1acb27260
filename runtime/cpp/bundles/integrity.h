// Checks of a bundle's files against the sizes and SHA-256 digests that its manifest records.
#pragma once

#include <string>

#include "../io/file.h"
#include "manifest.h"

namespace latentloop {

// Returns the identity of the file `name` in `folder`. A link is followed. Throws Error (LL_BAD_BUNDLE) unless the file
// has the size and the digest of the record. `source`, for messages, is the manifest that contains the record.
Identity verify_file(const std::string& folder, const std::string& name, const FileRecord& record,
                     const std::string& source);

}  // namespace latentloop
