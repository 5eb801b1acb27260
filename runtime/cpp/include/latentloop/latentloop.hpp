// LatentLoop's C interface for C++17: classes that own the handles, vectors instead of pointers, and exceptions.
// latentloop.h describes what the calls do, and which threads may call them. Programs link the same library.
//
//     latentloop::Bundle bundle("runtime/data/planets");
//     latentloop::Sampler sampler(bundle);
//     latentloop::SampleParams params;
//     params.seed = 7;
//     latentloop::Images image = sampler.sample(params).images;
//
// The functions whose names end in `into` use arrays of the caller, which can also be in memory of the sampler's GPU.
//
// Bundles and samplers can be moved, but not copied. While a sampler runs, it must not be destroyed, moved or assigned
// to: cancel it instead. Functions throw Error, and std::bad_alloc or std::length_error if their results do not fit
// into memory.
#ifndef LATENTLOOP_LATENTLOOP_HPP
#define LATENTLOOP_LATENTLOOP_HPP

#include <latentloop/latentloop.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <latentloop/values.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace latentloop {

// Inline, so that these classes are not those of the same names inside a static library.
inline namespace wrapper {

// See ll_set_onnxruntime.
inline void set_onnxruntime(const std::string& path) { check(ll_set_onnxruntime(path.c_str())); }

// See ll_set_tensorrt.
inline void set_tensorrt(const std::string& path) { check(ll_set_tensorrt(path.c_str())); }

class Bundle {
 public:
  explicit Bundle(const std::string& folder) {
    ll_bundle* bundle;
    check(ll_bundle_open(folder.c_str(), &bundle));
    handle_.reset(bundle);
  }

  // Images of this bundle, all 0.
  Images images(int64_t count) const {
    Images images{count, 0, 0, 0, {}};
    check(ll_bundle_image(handle(), &images.height, &images.width, &images.channels));
    images.pixels.resize(detail::length(count, images.image_bytes()));
    return images;
  }

  // From the top down.
  std::vector<Level> levels() const {
    std::vector<Level> levels;
    for (int32_t i = 0; i < ll_bundle_levels(handle()); ++i) {
      ll_level level;
      check(ll_bundle_level(handle(), i, &level));
      levels.push_back({level.name, level.height, level.width, level.codebook_size, level.has_prior != 0});
    }
    return levels;
  }

  std::vector<std::string> classes() const { return names(ll_bundle_classes(handle()), ll_bundle_class_name); }
  std::vector<std::string> precisions() const { return names(ll_bundle_precisions(handle()), ll_bundle_precision); }
  bool has_classifier() const { return ll_bundle_has_classifier(handle()) != 0; }

  ll_bundle* handle() const noexcept { return handle_.get(); }

 private:
  std::vector<std::string> names(int32_t count, const char* (*name)(const ll_bundle*, int32_t)) const {
    std::vector<std::string> names;
    for (int32_t i = 0; i < count; ++i) names.emplace_back(name(handle(), i));
    return names;
  }

  struct Close {
    void operator()(ll_bundle* bundle) const { ll_bundle_close(bundle); }
  };
  std::unique_ptr<ll_bundle, Close> handle_;
};

class Sampler {
 public:
  // The bundle may be destroyed before the sampler.
  explicit Sampler(const Bundle& bundle, const SamplerParams& params = {})
      : empty_(bundle.images(0)), levels_(bundle.levels()), classes_(ll_bundle_classes(bundle.handle())) {
    ll_sampler_params c_params = ll_default_sampler_params();
    c_params.threads = params.threads;
    c_params.device = params.device.c_str();
    c_params.precision = params.precision.c_str();
    ll_sampler* sampler;
    check(ll_sampler_create(bundle.handle(), &c_params, &sampler));
    handle_.reset(sampler);
  }

  // See ll_sampler_set_stream: a CUstream or cudaStream_t.
  void set_stream(void* stream) { check(ll_sampler_set_stream(handle(), stream)); }

  std::string device() const { return ll_sampler_device(handle()); }
  void cancel() const noexcept { ll_cancel(handle()); }
  ll_sampler* handle() const noexcept { return handle_.get(); }

  Samples sample(const SampleParams& params = {}) {
    return drawn(params, [&](const ll_sample_params& c_params, Samples& out, int64_t* const* codes, int64_t* finished) {
      return ll_sample(handle(), &c_params, out.images.pixels.data(), out.images.pixels.size(), codes, finished);
    });
  }

  // Draws into arrays of the host or of the GPU: images [count, height, width, channels] or null, and codes [levels] of
  // [count, height, width], of which some can be null, or an empty vector. Returns the number of finished samples:
  // after a cancellation it is less than `count`.
  int64_t sample_into(const SampleParams& params, uint8_t* images, size_t images_bytes,
                      const std::vector<int64_t*>& codes = {}) {
    if (!codes.empty()) check_levels(codes.size());
    int64_t* const* c_codes = codes.empty() ? nullptr : codes.data();
    const auto sample = [&](const ll_sample_params& c_params, int64_t* finished) {
      return ll_sample(handle(), &c_params, images, images_bytes, c_codes, finished);
    };
    return run(params, sample).count;
  }

  // See ll_sample_best.
  Samples sample_best(const SampleParams& params, int64_t candidates) {
    return drawn(params, [&](const ll_sample_params& c_params, Samples& out, int64_t* const* codes, int64_t* finished) {
      const size_t count = detail::length(params.count, 1);
      out.seeds.resize(count);
      out.labels.resize(count);
      out.confidence.resize(count);
      return ll_sample_best(handle(), &c_params, candidates, out.images.pixels.data(), out.images.pixels.size(), codes,
                            out.seeds.data(), out.labels.data(), out.confidence.data(), finished);
    });
  }

  Codes encode(const Images& images) {
    check_images(images);
    Codes codes = grids<int64_t>(images.count);
    check(
        ll_encode(handle(), images.pixels.data(), images.pixels.size(), images.count, detail::pointers(codes).data()));
    return codes;
  }

  Images decode(const Codes& codes) {
    const int64_t count = count_of(codes);
    Images images = empty(count);
    check(ll_decode(handle(), detail::pointers(codes).data(), count, images.pixels.data(), images.pixels.size()));
    return images;
  }

  // Encodes an array of the host or of the GPU. A level that is not wanted can be null. With all arrays on the GPU the
  // call does not wait.
  void encode_into(const uint8_t* images, size_t images_bytes, int64_t count, const std::vector<int64_t*>& codes) {
    check_levels(codes.size());
    check(ll_encode(handle(), images, images_bytes, count, codes.data()));
  }

  // Decodes arrays of the host or of the GPU. With all arrays on the GPU the call does not wait.
  void decode_into(const std::vector<const int64_t*>& codes, int64_t count, uint8_t* images, size_t images_bytes) {
    check_levels(codes.size());
    check(ll_decode(handle(), codes.data(), count, images, images_bytes));
  }

  // Returns the log-probability of every code, in nats: by level [count, height, width].
  std::vector<std::vector<double>> log_likelihood(const Codes& codes, const std::vector<int64_t>& labels = {}) {
    const int64_t count = count_of(codes);
    std::vector<std::vector<double>> nats = grids<double>(count);
    check(ll_log_likelihood(handle(), detail::pointers(codes).data(), detail::data("labels", labels, count), count,
                            detail::pointers(nats).data()));
    return nats;
  }

  // Returns the probabilities of the classes: [count, classes].
  std::vector<float> classify(const Images& images) {
    check_images(images);
    std::vector<float> probabilities(detail::length(images.count, classes_));
    check(ll_classify(handle(), images.pixels.data(), images.pixels.size(), images.count, probabilities.data()));
    return probabilities;
  }

 private:
  struct Finished {
    int64_t count;
    bool cancelled;
  };

  // Calls `function` with the parameters of the C interface.
  template <typename Function>
  Finished run(const SampleParams& params, Function function) {
    const auto levels = static_cast<int64_t>(levels_.size());
    std::vector<const int64_t*> given = params.given_arrays;
    if (!given.empty() && !params.given.empty())
      throw Error(LL_INVALID_ARGUMENT, "given and given_arrays: expected only one of them");
    for (size_t i = 0; i < params.given.size(); ++i) {
      const int64_t size = i < levels_.size() ? levels_[i].size() : 0;
      given.push_back(detail::data("given, level " + std::to_string(i), params.given[i], params.count, size));
    }
    detail::Progress progress{params.progress, nullptr};
    ll_sample_params c_params = ll_default_sample_params();
    c_params.count = params.count;
    c_params.seed = params.seed;
    c_params.seeds = detail::data("seeds", params.seeds, params.count);
    c_params.labels = detail::data("labels", params.labels, params.count);
    c_params.temperature = detail::data("temperature", params.temperature, levels);
    c_params.top_p = detail::data("top_p", params.top_p, levels);
    c_params.min_p = detail::data("min_p", params.min_p, levels);
    c_params.top_k = detail::data("top_k", params.top_k, levels);
    c_params.given = detail::data("given", given, levels);
    c_params.batch = params.batch;
    c_params.progress = params.progress ? detail::Progress::call : nullptr;
    c_params.user = &progress;
    int64_t finished = 0;
    const ll_status status = function(c_params, &finished);
    if (progress.exception) std::rethrow_exception(progress.exception);
    if (status != LL_CANCELLED) check(status);
    return {finished, status == LL_CANCELLED};
  }

  template <typename Function>
  Samples drawn(const SampleParams& params, Function function) {
    Samples samples;
    samples.images = empty(params.count);
    samples.codes = grids<int64_t>(params.count);
    const Finished finished = run(params, [&](const ll_sample_params& c_params, int64_t* count) {
      return function(c_params, samples, detail::pointers(samples.codes).data(), count);
    });
    const int64_t count = finished.count;
    samples.cancelled = finished.cancelled;
    samples.images.count = count;
    samples.images.pixels.resize(detail::length(count, empty_.image_bytes()));
    for (size_t i = 0; i < levels_.size(); ++i) samples.codes[i].resize(detail::length(count, levels_[i].size()));
    samples.seeds.resize(samples.seeds.empty() ? 0 : count);
    samples.labels.resize(samples.labels.empty() ? 0 : count);
    samples.confidence.resize(samples.confidence.empty() ? 0 : count);
    return samples;
  }

  Images empty(int64_t count) const {
    Images images = empty_;
    images.count = count;
    images.pixels.resize(detail::length(count, images.image_bytes()));
    return images;
  }

  template <typename T>
  std::vector<std::vector<T>> grids(int64_t count) const {
    std::vector<std::vector<T>> grids;
    for (const Level& level : levels_) grids.emplace_back(detail::length(count, level.size()));
    return grids;
  }

  void check_levels(size_t count) const {
    if (!handle_) throw Error(LL_INVALID_ARGUMENT, "sampler is null");  // it was moved from
    detail::check_length("codes", count, levels_.size());
  }

  // Returns how many images the codes are of. All levels must have that many.
  int64_t count_of(const Codes& codes) const {
    check_levels(codes.size());
    const int64_t count = static_cast<int64_t>(codes[0].size()) / levels_[0].size();
    for (size_t i = 0; i < codes.size(); ++i) {
      const size_t expected = detail::length(count, levels_[i].size());
      detail::check_length("codes, level " + levels_[i].name, codes[i].size(), expected);
    }
    return count;
  }

  void check_images(const Images& images) const {
    detail::check_length("images, height", images.height, empty_.height);
    detail::check_length("images, width", images.width, empty_.width);
    detail::check_length("images, channels", images.channels, empty_.channels);
    detail::check_length("images, pixels", images.pixels.size(), detail::length(images.count, empty_.image_bytes()));
  }

  struct Destroy {
    void operator()(ll_sampler* sampler) const { ll_sampler_destroy(sampler); }
  };

  Images empty_;  // count is 0
  std::vector<Level> levels_;
  int32_t classes_;
  std::unique_ptr<ll_sampler, Destroy> handle_;
};

}  // namespace wrapper
}  // namespace latentloop

#endif
