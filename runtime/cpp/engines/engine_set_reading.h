// Reading the manifest of a set: from untrusted JSON to the structs of engine_set.h.
#pragma once

#include <string>

#include "engine_set.h"

namespace latentloop {

// Returns the set in a folder; its plans are not read, and it is not compared with its bundle. Throws Error
// (LL_BAD_BUNDLE) that names the file and the field.
EngineSet read_engines(const std::string& folder);

}  // namespace latentloop
