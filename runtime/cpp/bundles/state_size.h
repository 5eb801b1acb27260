// The limit of the state buffers' size.
#pragma once

#include "manifest.h"

namespace latentloop {

// Throws Error (LL_INVALID_ARGUMENT) if the state buffers of the level's prior have too many values for this batch
// size.
void check_state_size(const Level& level, int64_t batch);

}  // namespace latentloop
