// Parts of a set's manifest in messages, written as Python writes them.
#pragma once

#include <string>
#include <vector>

#include "../bundles/manifest.h"

namespace latentloop {

std::string names_text(const std::vector<std::string>& names);
std::string level_text(const Level& level);  // without its state buffers and graphs
std::string state_buffer_text(const StateBuffer& buffer);
std::string binding_text(const Binding& binding);

}  // namespace latentloop
