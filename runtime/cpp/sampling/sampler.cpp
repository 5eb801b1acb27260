#include "sampler.h"

#include "../errors.h"

namespace latentloop {

void check_cancelled(const Sampler& sampler) {
  if (sampler.state.is_cancelled()) throw Error(LL_CANCELLED, "cancelled");
}

int64_t image_size(const Manifest& manifest) { return manifest.height * manifest.width * manifest.channels; }

int64_t code_count(const Level& level) { return level.height * level.width; }

}  // namespace latentloop
