#include "request.h"

#include <algorithm>
#include <limits>

#include "../bundles/state_size.h"
#include "sampler.h"

namespace latentloop {

namespace {

[[noreturn]] void refuse(const std::string& problem) { throw Error(LL_INVALID_ARGUMENT, problem); }

constexpr int64_t kLargestCount{int64_t{1} << 40};

}  // namespace

Request::Request(const Manifest& manifest, const ll_sample_params& params) : manifest_(manifest), params_(params) {
  check_counts();
  if (params.labels != nullptr) latentloop::check_labels(manifest, params.labels, params.count);
  for (size_t level = 0; level < manifest.levels.size(); ++level) {
    read_settings(level);
    check_given(level);
  }
  if (has_kept_codes_ && params.labels == nullptr && !manifest.classes.empty())
    refuse(
        "codes are given without labels, and the classes in turn may not be those of their images: pass labels; "
        "ll_classify can find them");
}

void Request::check_counts() const {
  if (params_.count < 1 || params_.count > kLargestCount)
    refuse(text("count is ", params_.count, ", expected from 1 to ", kLargestCount));
  if (params_.batch < 0 || params_.batch > kLargestBatch)
    refuse(text("batch is ", params_.batch, ", expected from 1 to ", kLargestBatch, ", or 0 for the default"));
  const auto others = static_cast<uint64_t>(params_.count - 1);
  if (params_.seeds == nullptr && params_.seed > std::numeric_limits<uint64_t>::max() - others)
    refuse(text("seed is ", params_.seed, ": the last of ", params_.count, " seeds would be over 2^64 - 1"));
}

void check_labels(const Manifest& manifest, const int64_t* labels, int64_t count) {
  const auto classes = static_cast<int64_t>(manifest.classes.size());
  if (classes == 0 && labels != nullptr) refuse("labels were given, but the bundle has no classes");
  if (classes == 0) return;
  const int64_t* wrong = std::find_if(labels, labels + count, [=](int64_t l) { return l < 0 || l >= classes; });
  if (wrong != labels + count)
    refuse(text("labels[", wrong - labels, "] is ", *wrong, ", expected one of the ", classes, " classes, 0 to ",
                classes - 1));
}

void Request::read_settings(size_t level) {
  const Level& each = manifest_.levels[level];
  LevelSettings settings = neutral_settings(each.codebook_size);
  if (params_.temperature != nullptr) set(settings, kTemperature, params_.temperature[level], each);
  if (params_.top_p != nullptr) set(settings, kTopP, params_.top_p[level], each);
  if (params_.min_p != nullptr) set(settings, kMinP, params_.min_p[level], each);
  if (params_.top_k != nullptr) set(settings, kTopK, static_cast<double>(params_.top_k[level]), each);
  settings_.push_back(settings);
}

// Checks the codes to keep of a level, and, if codes remain to be drawn, that the level can be drawn.
void Request::check_given(size_t level) {
  const Level& each = manifest_.levels[level];
  const int64_t* codes = params_.given == nullptr ? nullptr : params_.given[level];
  bool is_drawn = codes == nullptr;
  const int64_t size = code_count(each);
  for (int64_t i = 0; codes != nullptr && i < params_.count; ++i) {
    const int64_t *first = codes + i * size, *end = first + size;
    const int64_t* drawn = std::find_if(first, end, [](int64_t code) { return code < 0; });
    const int64_t* wrong = std::find_if(first, end, [&](int64_t c) { return c < -1 || c >= each.codebook_size; });
    if (wrong != end)
      refuse(text("given codes of ", each.name, ", sample ", i, ": ", *wrong, ", expected -1 to ",
                  each.codebook_size - 1));
    if (std::any_of(drawn, end, [](int64_t code) { return code >= 0; }))
      refuse(text("given codes of ", each.name, ", sample ", i, ": a kept code follows a -1 in raster order"));
    is_drawn = is_drawn || drawn != end;
    has_kept_codes_ = has_kept_codes_ || drawn != first;
  }
  if (!is_drawn) return;
  if (!each.prior)
    refuse(text("the bundle has no prior for the level '", each.name, "': it can encode and decode only"));
  check_state_size(each, batch(params_.count));
}

uint64_t Request::seed(int64_t i) const {
  return params_.seeds == nullptr ? params_.seed + static_cast<uint64_t>(i) : params_.seeds[i];
}

int64_t Request::label(int64_t i) const {
  if (manifest_.classes.empty()) return 0;
  return params_.labels == nullptr ? i % static_cast<int64_t>(manifest_.classes.size()) : params_.labels[i];
}

const int64_t* Request::given(size_t level, int64_t i) const {
  if (params_.given == nullptr || params_.given[level] == nullptr) return nullptr;
  return params_.given[level] + i * code_count(manifest_.levels[level]);
}

int64_t Request::batch(int64_t all) const { return params_.batch == 0 ? std::min(all, kDefaultBatch) : params_.batch; }

}  // namespace latentloop
