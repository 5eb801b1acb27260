// Opening of shared libraries at run time.
#pragma once

#include <string>

namespace latentloop {

// Returns the handle of a library, which is never closed: its code may run until the process ends. Returns null, and
// sets `problem`, if it cannot be loaded. A name without a slash is looked up by the loader.
void* open_library(const std::string& path, std::string& problem);

}  // namespace latentloop
