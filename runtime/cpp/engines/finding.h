// Finding the engines in a bundle for a GPU architecture, a TensorRT version and a precision.
#pragma once

#include <string>

#include "../bundles/bundle.h"
#include "engine_set.h"

namespace latentloop {

struct EngineRequest {
  std::string flavour;       // one of kFlavours
  std::string library;       // "MAJOR.MINOR.PATCH.BUILD" of the loaded library; sets may say more: "10.14.1.48.post1"
  std::string architecture;  // "sm90"
  std::string precision;
};

// Throws Error as find_engines() does if engines cannot have the precision, or the bundle has no engines at all.
void check_has_engines(const Bundle& bundle, const std::string& precision);

// Returns the set of engines after verifying the size and SHA-256 of every plan. Throws Error: LL_MISSING, with a line
// that says what the bundle has instead, if there is none or it was built for something else; LL_BAD_BUNDLE if it is
// damaged; LL_INVALID_ARGUMENT if engines cannot have the precision.
EngineSet find_engines(const Bundle& bundle, const EngineRequest& request);

}  // namespace latentloop
