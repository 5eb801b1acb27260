#include "codec.h"

#include <algorithm>
#include <vector>

#include "../errors.h"
#include "../host_array.h"

namespace latentloop {

void check_classifier(const Manifest& manifest) {
  if (!manifest.classifier)
    throw Error(LL_INVALID_ARGUMENT,
                "the bundle has no classifier: `latentloop train classifier` makes one; export the bundle again with "
                "--classifier FILE");
}

namespace {

constexpr int64_t kUndrawn{-1};

// Throws Error (LL_INVALID_ARGUMENT) for codes in memory of the host, or also in that of a GPU, that are not `least` to
// K - 1.
void check_range(Sampler& sampler, const int64_t* const* codes, int64_t count, int64_t least, bool also_on_gpu) {
  const bool decodes_undrawn = sampler.manifest().undrawn_codeword.has_value();
  const auto& levels = sampler.manifest().levels;
  for (size_t l = 0; count > 0 && l < levels.size(); ++l) {
    const Level& level = levels[l];
    if (codes[l] == nullptr) throw Error(LL_INVALID_ARGUMENT, text("codes of ", level.name, " are null"));
    HostArray<int64_t> all{*sampler.backend, codes[l]};
    if (all.is_on_gpu() && !also_on_gpu) continue;
    const int64_t size = code_count(level);
    for (int64_t sample = 0; sample < count; ++sample) {
      const int64_t* first = all.part(sample * size, size);
      const auto wrong = [&level, least](int64_t code) { return code < least || code >= level.codebook_size; };
      if (const int64_t* found = std::find_if(first, first + size, wrong); found != first + size)
        throw Error(LL_INVALID_ARGUMENT, text("codes of ", level.name, ", sample ", sample, ": ", *found, ", expected ",
                                              least, " to ", level.codebook_size - 1));
      if (!decodes_undrawn && std::find(first, first + size, kUndrawn) != first + size)
        throw Error(LL_INVALID_ARGUMENT,
                    text("codes of ", level.name, ", sample ", sample,
                         " hold -1, which is not drawn: the bundle has no codeword for it, because an earlier release "
                         "exported it: export it again, or decode when all codes are drawn"));
    }
  }
}

}  // namespace

void check_codes(Sampler& sampler, const int64_t* const* codes, int64_t count) {
  check_range(sampler, codes, count, 0, true);
}

void check_codes_to_decode(Sampler& sampler, const int64_t* const* codes, int64_t count) {
  check_range(sampler, codes, count, kUndrawn, false);
}

// The number of samples of a run.
int64_t run_size(const Sampler& sampler) { return std::min(kDefaultBatch, sampler.backend->largest_batch()); }

void encode(Sampler& sampler, const uint8_t* images, int64_t count, int64_t* const* codes) {
  const auto& levels = sampler.manifest().levels;
  const int64_t most = run_size(sampler);
  for (int64_t first = 0; first < count; first += most) {
    const int64_t n = std::min(most, count - first);
    std::vector<int64_t*> part;
    for (size_t l = 0; l < levels.size(); ++l)
      part.push_back(codes[l] == nullptr ? nullptr : codes[l] + first * code_count(levels[l]));
    sampler.backend->encode(n, images + first * image_size(sampler.manifest()), part);
    check_cancelled(sampler);
  }
}

void decode(Sampler& sampler, const int64_t* const* codes, int64_t count, uint8_t* images) {
  const auto& levels = sampler.manifest().levels;
  const int64_t most = run_size(sampler);
  for (int64_t first = 0; first < count; first += most) {
    std::vector<const int64_t*> part;
    for (size_t l = 0; l < levels.size(); ++l) part.push_back(codes[l] + first * code_count(levels[l]));
    const int64_t n = std::min(most, count - first);
    sampler.backend->decode(n, part, n, images + first * image_size(sampler.manifest()))->wait();
    check_cancelled(sampler);
  }
}

void classify(Sampler& sampler, const uint8_t* images, int64_t count, float* probabilities) {
  const auto classes = static_cast<int64_t>(sampler.manifest().classes.size());
  const int64_t pixels = image_size(sampler.manifest());
  HostArray<uint8_t> all{*sampler.backend, images};
  for (int64_t first = 0; first < count; first += kDefaultBatch) {
    const int64_t n = std::min(kDefaultBatch, count - first);
    const uint8_t* part = all.part(first * pixels, n * pixels);
    sampler.backend->classify(n, part, probabilities + first * classes);
    check_cancelled(sampler);
  }
}

}  // namespace latentloop
