// The state buffers that a loop itself writes or reads, and the initial values that make an ordinary draw of them.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "manifest.h"

namespace latentloop {

constexpr int64_t kFillsSince{5};  // the first version of the manifest with the initial values of this file

// Returns the buffers of a level, except the ring of codes. `upper` is the grid of the condition, if there is one.
std::vector<StateBuffer> loop_buffers(const Level& level, const std::optional<std::array<int64_t, 2>>& upper,
                                      bool labels);

// Whether graphs may bind inputs and outputs of that name only to the buffer of the same name.
bool is_loop_name(const std::string& name);

// Changes a level of a manifest that was written before kFillsSince: it gets the initial values of today.
void set_fills(Level& level);

}  // namespace latentloop
