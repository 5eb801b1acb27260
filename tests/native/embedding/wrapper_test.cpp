// The C++ wrapper: ownership, sizes, errors, progress and cancellation.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <latentloop/latentloop.hpp>
#include <type_traits>

using latentloop::Bundle;
using latentloop::Codes;
using latentloop::Error;
using latentloop::Images;
using latentloop::SampleParams;
using latentloop::Sampler;
using latentloop::Samples;

static_assert(std::is_nothrow_move_constructible_v<Bundle> && std::is_move_assignable_v<Bundle>);
static_assert(std::is_move_constructible_v<Sampler> && std::is_move_assignable_v<Sampler>);
static_assert(!std::is_copy_constructible_v<Bundle> && !std::is_copy_constructible_v<Sampler>);

namespace {

constexpr int kSkipped{77};

void require(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
  }
}

template <typename Function>
void require_refused(Function function, const std::string& word) {
  try {
    function();
  } catch (const Error& error) {
    require(error.status() == LL_INVALID_ARGUMENT, error.what());
    require(std::string(error.what()).find(word) != std::string::npos, error.what());
    return;
  }
  require(false, word.c_str());
}

void test_results(Sampler& sampler, const Bundle& bundle) {
  SampleParams params;
  params.count = 2;
  params.seed = 3;
  const std::vector<int64_t> labels(bundle.classes().empty() ? 0 : 2, 0);
  params.labels = labels;
  const Samples samples = sampler.sample(params);
  require(!samples.cancelled && samples.images.count == 2, "two samples");
  require(samples.images.pixels.size() == bundle.images(2).pixels.size(), "their pixels");
  require(samples.seeds.empty() && samples.confidence.empty(), "nothing of sample_best");
  params.seeds = {4, 3};
  const Samples exchanged = sampler.sample(params);
  for (size_t level = 0; level < samples.codes.size(); ++level) {
    const std::vector<int64_t>&codes = samples.codes[level], &others = exchanged.codes[level];
    require(std::equal(codes.begin(), codes.begin() + codes.size() / 2, others.begin() + others.size() / 2), "seeds");
  }

  const Images decoded = sampler.decode(samples.codes);
  require(decoded.pixels == samples.images.pixels, "decoded codes are the images");
  const Codes encoded = sampler.encode(decoded);
  require(encoded.size() == samples.codes.size() && encoded[0].size() == samples.codes[0].size(), "encoded codes");
  require(sampler.log_likelihood(samples.codes, labels)[0].size() == samples.codes[0].size(), "a number per code");
  if (bundle.has_classifier()) {
    require(sampler.classify(decoded).size() == 2 * bundle.classes().size(), "a probability per class");
    params.seeds.clear();
    const Samples best = sampler.sample_best(params, 2);
    require(best.seeds.size() == 2 && best.labels.size() == 2 && best.confidence.size() == 2, "kept samples");
  }

  SampleParams kept;
  kept.given = samples.codes;
  kept.count = 2;
  kept.labels = labels;
  require(sampler.sample(kept).images.pixels == samples.images.pixels, "given codes are kept");
  kept.given.back().clear();
  require(sampler.sample(kept).codes[0] == samples.codes[0], "also those of some levels only");
}

void test_sizes(Sampler& sampler, const Bundle& bundle) {
  SampleParams params;
  params.count = 3;
  params.seeds = {1, 2};
  require_refused([&] { sampler.sample(params); }, "seeds: 2 elements, expected 3");
  params.seeds.clear();
  params.temperature = std::vector<float>(bundle.levels().size() + 1, 1.0f);
  require_refused([&] { sampler.sample(params); }, "temperature");
  params.temperature.clear();
  params.given = Codes(bundle.levels().size());
  params.given[0].assign(1, -1);
  require_refused([&] { sampler.sample(params); }, "given, level 0: 1 elements, expected ");
  params.given.clear();
  params.count = -1;
  require_refused([&] { sampler.sample(params); }, "");
  Images images = bundle.images(1);
  images.count = 2;
  require_refused([&] { sampler.encode(images); }, "pixels");
  require_refused([&] { sampler.decode({}); }, "codes");
  params.count = INT64_MAX / 2;
  try {
    sampler.sample(params);
    require(false, "too many samples");
  } catch (const std::length_error&) {
  }
}

// Arrays of the caller; wrapper_on_gpu.cpp has them in memory of a GPU.
void test_arrays(Sampler& sampler, const Bundle& bundle) {
  SampleParams params;
  params.count = 2;
  if (!bundle.classes().empty()) params.labels = {1, 0};
  const Samples expected = sampler.sample(params);
  Images images = bundle.images(2);
  Codes codes = expected.codes;
  std::vector<int64_t*> targets;
  for (std::vector<int64_t>& level : codes) {
    std::fill(level.begin(), level.end(), -1);
    targets.push_back(level.data());
  }
  require(sampler.sample_into(params, images.pixels.data(), images.pixels.size(), targets) == 2, "two samples");
  require(images.pixels == expected.images.pixels && codes == expected.codes, "the same samples");
  images.pixels.assign(images.pixels.size(), 0);
  sampler.decode_into({targets.begin(), targets.end()}, 2, images.pixels.data(), images.pixels.size());
  require(images.pixels == expected.images.pixels, "the same images");

  const Codes encoded = sampler.encode(images);
  sampler.encode_into(images.pixels.data(), images.pixels.size(), 2, targets);
  require(codes == encoded, "the same codes");
  codes = expected.codes;
  params.given_arrays.assign(targets.begin(), targets.end());
  params.given_arrays.back() = nullptr;
  params.seed = 99;
  std::vector<int64_t*> wanted(targets.size());
  std::vector<int64_t> top(codes[0].size());
  wanted[0] = top.data();
  require(sampler.sample_into(params, nullptr, 0, wanted) == 2 && top == codes[0], "given codes");
  params.progress = [](const ll_progress&) { return false; };
  require(sampler.sample_into(params, nullptr, 0) == 0, "cancelled");

  params.given = codes;
  require_refused([&] { sampler.sample(params); }, "given and given_arrays");
  params.given.clear();
  params.given_arrays.push_back(nullptr);
  require_refused([&] { sampler.sample(params); }, "given: 3 elements, expected 2");
  require_refused([&] { sampler.sample_into({}, nullptr, 0, {nullptr}); }, "codes: 1 elements, expected 2");
  require_refused([&] { sampler.decode_into({nullptr}, 2, images.pixels.data(), 0); }, "codes");
  require_refused([&] { sampler.encode_into(images.pixels.data(), images.pixels.size(), 2, {}); }, "codes");
  require_refused([&] { sampler.sample_into({}, images.pixels.data(), 1); }, "images_bytes");
  sampler.set_stream(nullptr);
  require_refused([&] { sampler.set_stream(&images); }, "the sampler runs on the CPU, which has no streams");
}

// The path is not used before the first sampler on a GPU.
void test_tensorrt_path() {
  try {
    latentloop::set_tensorrt("/absent");
    latentloop::set_tensorrt("");
  } catch (const Error& error) {
    require(error.status() == LL_DEVICE, "a build without TensorRT");
    require(std::string(error.what()).find("built without TensorRT") != std::string::npos, error.what());
  }
}

void test_progress(Sampler& sampler) {
  SampleParams params;
  params.count = 2;
  params.batch = 1;
  const Images expected = sampler.sample(params).images;
  int calls = 0;
  params.progress = [&](const ll_progress& progress) {
    ++calls;
    return progress.image == 0;  // cancels in the second batch
  };
  Samples samples = sampler.sample(params);
  require(samples.cancelled && samples.images.count == 1 && calls > 1, "cancelled in the second batch");
  require(std::equal(samples.images.pixels.begin(), samples.images.pixels.end(), expected.pixels.begin()),
          "the first image is whole");
  require(samples.images.pixels.size() * 2 == expected.pixels.size(), "and the only one");

  params.progress = [](const ll_progress&) -> bool { throw std::logic_error("mine"); };
  try {
    sampler.sample(params);
    require(false, "the exception");
  } catch (const std::logic_error& error) {
    require(std::string(error.what()) == "mine", "the same exception");
  }
  params.progress = [&](const ll_progress&) {
    sampler.cancel();
    return true;
  };
  require(sampler.sample(params).cancelled, "cancelled from the callback");
  params.progress = nullptr;
  require(sampler.sample(params).images.pixels == expected.pixels, "the sampler can be used again");
}

}  // namespace

int main(int count, char** arguments) {
  require(count == 2, "the argument is a bundle");
  try {
    Bundle("missing");
    require(false, "a missing bundle");
  } catch (const Error& error) {
    require(error.status() == LL_BAD_BUNDLE && *error.what() != '\0', "its error");
  }
  test_tensorrt_path();
  try {
    Bundle opened(arguments[1]);
    const Bundle bundle = std::move(opened);
    Sampler created(bundle);
    Sampler sampler = std::move(created);
    require(sampler.device() == "cpu", "the device");
    test_results(sampler, bundle);
    test_sizes(sampler, bundle);
    test_arrays(sampler, bundle);
    require_refused([&] { created.sample(); }, "sampler is null");
    require_refused([&] { created.decode({}); }, "sampler is null");
    require_refused([&] { created.decode_into({}, 1, nullptr, 0); }, "sampler is null");
    require_refused([&] { created.log_likelihood({}); }, "sampler is null");
    test_progress(sampler);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", ll_status_name(error.status()), error.what());
    return error.status() == LL_MISSING ? kSkipped : 1;
  }
}
