// Reading the manifest: from untrusted JSON to the structs of manifest.h.
#pragma once

#include <string>

#include "../io/json.h"
#include "manifest.h"

namespace latentloop {

// Returns the checked manifest of one of the versions 3 to 5. Throws Error (LL_BAD_BUNDLE) that names the file
// (`source`) and the field.
Manifest read_manifest(const Json& json, const std::string& source);

}  // namespace latentloop
