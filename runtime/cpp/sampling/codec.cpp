#include "codec.h"

#include <algorithm>
#include <vector>

#include "../errors.h"

namespace latentloop {

void check_classifier(const Manifest& manifest) {
  if (!manifest.classifier)
    throw Error(LL_INVALID_ARGUMENT,
                "the bundle has no classifier: `latentloop train classifier` makes one; export the bundle again with "
                "--classifier FILE");
}

void check_codes(const Manifest& manifest, const int64_t* const* codes, int64_t count) {
  if (count == 0) return;
  for (size_t l = 0; l < manifest.levels.size(); ++l) {
    const Level& level = manifest.levels[l];
    if (codes[l] == nullptr) throw Error(LL_INVALID_ARGUMENT, text("codes of ", level.name, " are null"));
    const int64_t *first = codes[l], *last = first + count * code_count(level);
    const auto wrong = [&level](int64_t code) { return code < 0 || code >= level.codebook_size; };
    if (const int64_t* found = std::find_if(first, last, wrong); found != last)
      throw Error(LL_INVALID_ARGUMENT, text("codes of ", level.name, ", sample ", (found - first) / code_count(level),
                                            ": ", *found, ", expected 0 to ", level.codebook_size - 1));
  }
}

void encode(Sampler& sampler, const uint8_t* images, int64_t count, int64_t* const* codes) {
  const auto& levels = sampler.manifest().levels;
  std::vector<std::vector<int64_t>> unwanted(levels.size());
  for (int64_t first = 0; first < count; first += kDefaultBatch) {
    const int64_t n = std::min(kDefaultBatch, count - first);
    std::vector<int64_t*> part;
    for (size_t l = 0; l < levels.size(); ++l) {
      if (codes[l] == nullptr) unwanted[l].resize(n * code_count(levels[l]));
      part.push_back(codes[l] == nullptr ? unwanted[l].data() : codes[l] + first * code_count(levels[l]));
    }
    sampler.backend->encode(n, images + first * image_size(sampler.manifest()), part);
    check_cancelled(sampler);
  }
}

void decode(Sampler& sampler, const int64_t* const* codes, int64_t count, uint8_t* images) {
  const auto& levels = sampler.manifest().levels;
  for (int64_t first = 0; first < count; first += kDefaultBatch) {
    std::vector<const int64_t*> part;
    for (size_t l = 0; l < levels.size(); ++l) part.push_back(codes[l] + first * code_count(levels[l]));
    const int64_t n = std::min(kDefaultBatch, count - first);
    sampler.backend->decode(n, part, images + first * image_size(sampler.manifest()));
    check_cancelled(sampler);
  }
}

void classify(Sampler& sampler, const uint8_t* images, int64_t count, float* probabilities) {
  const auto classes = static_cast<int64_t>(sampler.manifest().classes.size());
  for (int64_t first = 0; first < count; first += kDefaultBatch) {
    const int64_t n = std::min(kDefaultBatch, count - first);
    sampler.backend->classify(n, images + first * image_size(sampler.manifest()), probabilities + first * classes);
    check_cancelled(sampler);
  }
}

}  // namespace latentloop
