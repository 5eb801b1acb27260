#include "request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "../bundles/state_size.h"

namespace latentloop {

namespace {

[[noreturn]] void refuse(const std::string& problem) { throw Error(LL_INVALID_ARGUMENT, problem); }

std::string number(double value) {
  std::array<char, 32> shown;  // the shortest text of any number fits
  return {shown.data(), std::to_chars(shown.data(), shown.data() + shown.size(), value).ptr};
}

// The highest value, in the type of the caller's array.
double limit(const Setting& setting) { return setting.is_integer ? setting.high : static_cast<float>(setting.high); }

std::string expected(const Setting& setting) {
  if (setting.is_integer) return "an integer from 1";
  if (setting.allows_low) return text("from ", number(setting.low), " to ", number(setting.high));
  return text("over ", number(setting.low), ", at most ", number(setting.high));
}

// Returns whether every step with filters of the prior reads the filter's state buffer.
bool has_filter(const Prior& prior, const std::string& name) {
  for (const auto& [role, graph] : prior.graphs) {
    const auto reads = [&name](const Binding& binding) { return binding.memory == name; };
    if (role.rfind("step_filtered", 0) == 0 && std::none_of(graph.inputs.begin(), graph.inputs.end(), reads))
      return false;
  }
  return true;
}

// Sets one setting of a level.
void set(LevelSettings& settings, size_t setting, double value, const Level& level) {
  const Setting& kind = kSettings[setting];
  const bool is_allowed = (kind.allows_low ? value >= kind.low : value > kind.low) && value <= limit(kind);
  if (!is_allowed) refuse(text(kind.name, " for ", level.name, " is ", number(value), ", expected ", expected(kind)));
  if (kind.is_integer) value = std::min(value, static_cast<double>(level.codebook_size));
  settings.values[setting] = std::max(value, kind.lowest);
}

// Refuses a filter in use that the level's prior, exported by an earlier release, does not have.
void check_filters(const LevelSettings& settings, const Level& level) {
  for (const size_t filter : {kTopK, kTopP, kMinP}) {
    const char* name = kSettings[filter].name;
    if (settings.values[filter] != neutral(filter, level.codebook_size) && !has_filter(*level.prior, name))
      refuse(text(name, " for ", level.name,
                  ": the bundle has no such filter, because an earlier release exported it: ",
                  "export it again, or leave ", name, " out"));
  }
}

}  // namespace

Request::Request(Sampler& sampler, const ll_sample_params& params)
    : manifest_(sampler.manifest()), params_(params), largest_batch_(sampler.backend->largest_batch()) {
  const Manifest& manifest = manifest_;
  check_counts();
  if (params.labels != nullptr) latentloop::check_labels(manifest, params.labels, params.count);
  for (size_t level = 0; level < manifest.levels.size(); ++level) {
    given_.emplace_back(*sampler.backend, params.given == nullptr ? nullptr : params.given[level]);
    read_settings(level);
    check_given(level);
  }
  if (has_kept_codes_ && params.labels == nullptr && !manifest.classes.empty())
    refuse(
        "codes are given without labels, and the classes in turn may not be those of their images: pass labels; "
        "ll_classify can find them");
}

void Request::check_counts() const {
  if (params_.count < 1 || params_.count > kMostSamples)
    refuse(text("count is ", params_.count, ", expected from 1 to ", kMostSamples));
  if (params_.batch < 0 || params_.batch > largest_batch_)
    refuse(text("batch is ", params_.batch, ", expected from 1 to ", largest_batch_, ", or 0 for the default"));
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

void check_prior(const Level& level) {
  if (!level.prior)
    refuse(text("the bundle has no prior for the level '", level.name,
                "', which draws its codes and knows their likelihood: export the bundle with one"));
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
  const bool has_codes = !given_[level].is_null();
  bool is_drawn = !has_codes;
  const int64_t size = code_count(each);
  for (int64_t i = 0; has_codes && i < params_.count; ++i) {
    const int64_t *first = given(level, i), *end = first + size;
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
  check_prior(each);
  check_filters(settings_[level], each);
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
  const int64_t size = code_count(manifest_.levels[level]);
  return given_[level].is_null() ? nullptr : given_[level].part(i * size, size);
}

int64_t Request::batch(int64_t all) const {
  return params_.batch == 0 ? std::min({all, kDefaultBatch, largest_batch_}) : params_.batch;
}

}  // namespace latentloop
