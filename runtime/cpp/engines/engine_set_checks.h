// Checks that a set of engines fits its bundle: the same levels, state buffers and bindings.
//
// Engines may differ from the bundle's graphs in two respects only, both not where the loop itself writes or reads:
// float32 state buffers may have a 16-bit type, and inputs and outputs may be left out.
#pragma once

#include "engine_set.h"

namespace latentloop {

// Throws Error (LL_BAD_BUNDLE) that names the wrong field. `manifest` is the bundle's.
void check_contents(const EngineSet& set, const Manifest& manifest);

}  // namespace latentloop
