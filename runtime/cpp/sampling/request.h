// What to sample: the parameters of ll_sample, checked against the bundle.
#pragma once

#include <vector>

#include "../bundles/manifest.h"
#include "../draws/level_settings.h"
#include "../errors.h"
#include "../host_array.h"
#include "sampler.h"

namespace latentloop {

class Request {
 public:
  // Throws Error (LL_INVALID_ARGUMENT). The parameters' arrays and the sampler have to outlive the request.
  Request(Sampler& sampler, const ll_sample_params& params);

  const ll_sample_params& params() const { return params_; }
  int64_t count() const { return params_.count; }
  const LevelSettings& settings(size_t level) const { return settings_[level]; }

  // Of sample i: its seed, its label (0 without classes), and its codes [H, W] of a level, null if none are given. The
  // codes are valid until the next call for the level.
  uint64_t seed(int64_t i) const;
  int64_t label(int64_t i) const;
  const int64_t* given(size_t level, int64_t i) const;

  // The number of samples in a batch, if there are so many in all.
  int64_t batch(int64_t all) const;

 private:
  void check_counts() const;
  void check_given(size_t level);
  void read_settings(size_t level);

  const Manifest& manifest_;
  const ll_sample_params params_;
  const int64_t largest_batch_;
  mutable std::vector<HostArray<int64_t>> given_;  // by level
  std::vector<LevelSettings> settings_;
  bool has_kept_codes_{};
};

// Throws Error unless every label is the index of a class. `labels` [count] is null for a bundle without classes.
void check_labels(const Manifest& manifest, const int64_t* labels, int64_t count);

// Throws Error if the level has no prior.
void check_prior(const Level& level);

}  // namespace latentloop
