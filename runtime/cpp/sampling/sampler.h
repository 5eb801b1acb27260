// A sampler: a bundle, the backend that runs its graphs, and the state of its runs.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "../bundles/bundle.h"
#include "run_state.h"

namespace latentloop {

constexpr int64_t kDefaultBatch{16};               // if the caller passes no batch size, at most
constexpr int64_t kMostKept{int64_t{1} << 24};     // of candidates: the choice needs some bytes for each
constexpr int64_t kMostSamples{int64_t{1} << 40};  // of one call, candidates included

struct Sampler {
  Sampler(std::shared_ptr<const Bundle> opened, std::unique_ptr<Backend> runs_on)
      : bundle(std::move(opened)), backend(std::move(runs_on)), state(*backend) {}

  const Manifest& manifest() const { return bundle->manifest(); }

  const std::shared_ptr<const Bundle> bundle;
  const std::unique_ptr<Backend> backend;
  RunState state;
};

// Throws Error (LL_CANCELLED) if the sampler's run is cancelled.
void check_cancelled(const Sampler& sampler);

// The number of values of an image, and of a level's codes for one sample.
int64_t image_size(const Manifest& manifest);
int64_t code_count(const Level& level);

}  // namespace latentloop
