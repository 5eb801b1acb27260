// Checks that the parts of a manifest agree: grids, graphs, files, state buffers and views inside them.
#pragma once

#include <string>

#include "manifest.h"

namespace latentloop {

// Throws Error (LL_BAD_BUNDLE) that names the wrong field. `source` is the name of the file. Afterwards the numbers of
// elements of an image, and of all state buffers of a prior for one sample, are at most 2^28.
void check_manifest(const Manifest& manifest, const std::string& source);

}  // namespace latentloop
