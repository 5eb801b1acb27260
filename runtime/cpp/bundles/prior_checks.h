// Checks of a prior: its state buffers, and the views of them, which must be inside at every row and column.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "manifest.h"

namespace latentloop {

constexpr size_t kMostAxes{8};
constexpr size_t kNoBuffer{SIZE_MAX};  // the index of a binding's buffer that does not exist

// Throws Error (LL_BAD_BUNDLE) that names the field. `level` has a prior, at `where`, of a bundle or of a set of
// engines; `upper` is the level above or null. Settings in `absent` need no buffer. `roles` are the names of the graphs
// that it may have, in the order in which they are checked.
void check_prior(const Level& level, const Level* upper, const std::string& where, const std::set<std::string>& absent,
                 const std::vector<std::string>& roles);

// Throws Error (LL_BAD_BUNDLE) if a name occurs twice.
void check_distinct(const std::string& where, const std::vector<std::string>& names);

// Returns the names of the graphs of a prior at some precisions, in the order in which they are checked: those that it
// may have, and those of them that it must have.
std::vector<std::string> known_graphs(const std::vector<std::string>& precisions);
std::vector<std::string> required_graphs(const std::vector<std::string>& precisions);

bool operator==(const StateBuffer& a, const StateBuffer& b);

// Returns a shape as a list for messages, and an initial value.
std::string shape_text(const Shape& shape);
std::string fill_text(const StateBuffer& buffer);

}  // namespace latentloop
