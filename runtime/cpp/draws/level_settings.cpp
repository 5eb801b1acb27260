#include "level_settings.h"

namespace latentloop {

bool LevelSettings::is_filtered(int64_t codebook_size) const {
  for (const size_t filter : {kTopK, kTopP, kMinP})
    if (values[filter] != neutral(filter, codebook_size)) return true;
  return false;
}

LevelSettings neutral_settings(int64_t codebook_size) {
  LevelSettings settings{};
  for (size_t i = 0; i < kSettings.size(); ++i) settings.values[i] = neutral(i, codebook_size);
  return settings;
}

}  // namespace latentloop
