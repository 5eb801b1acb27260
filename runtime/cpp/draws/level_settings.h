// The settings with which the codes of one level are drawn.
#pragma once

#include <array>

#include "settings.h"

namespace latentloop {

struct LevelSettings {
  std::array<double, kSettings.size()> values;  // in the order of kSettings, as the state buffers hold them

  // Returns whether a filter may exclude a code, so that the step with filters has to run.
  bool is_filtered(int64_t codebook_size) const;
};

// Returns settings that draw every code at temperature 1.
LevelSettings neutral_settings(int64_t codebook_size);

}  // namespace latentloop
