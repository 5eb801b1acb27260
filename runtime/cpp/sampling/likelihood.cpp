#include "likelihood.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "../bundles/state_size.h"
#include "../draws/drawn_codes.h"
#include "../errors.h"
#include "codec.h"
#include "request.h"

namespace latentloop {

namespace {

void check(Sampler& sampler, const int64_t* const* codes, const int64_t* labels, int64_t count, int64_t batch) {
  const Manifest& manifest = sampler.manifest();
  if (labels == nullptr && !manifest.classes.empty() && count > 0)
    throw Error(LL_INVALID_ARGUMENT, "labels are missing: the likelihood of codes depends on their class");
  check_labels(manifest, labels, count);
  check_codes(sampler, codes, count);
  for (const Level& level : manifest.levels) {
    check_prior(level);
    check_state_size(level, batch);
  }
}

// Returns the log-probability, in nats, of one of K codes; NaN if one of the logits is not finite.
double log_probability(const float* logits, int64_t codebook_size, int64_t code) {
  const auto is_finite = [](float logit) { return std::isfinite(logit); };
  if (!std::all_of(logits, logits + codebook_size, is_finite)) return std::nan("");
  const double largest = *std::max_element(logits, logits + codebook_size);
  double sum = 0;
  for (int64_t k = 0; k < codebook_size; ++k) sum += std::exp(logits[k] - largest);
  return logits[code] - largest - std::log(sum);
}

}  // namespace

void log_likelihood(Sampler& sampler, const int64_t* const* codes, const int64_t* labels, int64_t count,
                    double* const* nats) {
  const Manifest& manifest = sampler.manifest();
  const int64_t size = std::clamp(count, int64_t{1}, std::min(kDefaultBatch, sampler.backend->largest_batch()));
  check(sampler, codes, labels, count, size);
  std::vector<int64_t> batch_labels(size), upper, forced;
  std::vector<HostArray<int64_t>> of_levels;
  for (size_t l = 0; count > 0 && l < manifest.levels.size(); ++l) of_levels.emplace_back(*sampler.backend, codes[l]);
  for (int64_t first = 0; first < count; first += size) {
    const int64_t n = std::min(size, count - first);
    const auto sample = [=](int64_t b) { return std::min(first + b, count - 1); };  // the last batch is filled up
    for (int64_t b = 0; b < size && labels != nullptr; ++b) batch_labels[b] = labels[sample(b)];
    for (size_t l = 0; l < manifest.levels.size(); ++l) {
      const Level& level = manifest.levels[l];
      const int64_t per_sample = code_count(level);
      forced.resize(size * per_sample);
      for (int64_t b = 0; b < size; ++b)
        std::copy_n(of_levels[l].part(sample(b) * per_sample, per_sample), per_sample, forced.data() + b * per_sample);
      LevelInputs inputs{};
      inputs.level = l;
      inputs.batch = size;
      inputs.forced = forced.data();
      inputs.upper = l == 0 ? nullptr : upper.data();
      inputs.labels = batch_labels.data();
      sampler.backend->rows(inputs, [&](const Row& row) {
        for (int64_t b = 0; b < n; ++b) {
          for (int64_t j = 0; j < level.width; ++j) {
            const float* logits = row.logits + (j * size + b) * level.codebook_size;
            const double nat = log_probability(logits, level.codebook_size, row.codes[j * size + b]);
            if (std::isnan(nat)) throw not_finite(sampler.bundle->folder(), level.name);
            if (nats[l] != nullptr) nats[l][(first + b) * per_sample + row.i * level.width + j] = nat;
          }
        }
        check_cancelled(sampler);
      });
      std::swap(upper, forced);
    }
  }
}

}  // namespace latentloop
