#include "backend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../bundles/views.h"
#include "../errors.h"
#include "../onnxruntime/failures.h"
#include "codec_checks.h"

namespace latentloop {

namespace {

constexpr double kSumBound{1e-3};  // of |1 - sum| of an image's probabilities

bool is_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

void check_probabilities(const std::string& path, const float* probabilities, int64_t n, int64_t classes) {
  for (int64_t image = 0; image < n; ++image) {
    const float *first = probabilities + image * classes, *last = first + classes;
    const double sum = std::accumulate(first, last, 0.0);
    if (!std::isfinite(sum))
      throw Error(LL_BAD_BUNDLE, text(path, ": results that are not finite: the weights are damaged"));
    if (*std::min_element(first, last) < 0 || std::abs(sum - 1) > kSumBound)
      throw Error(LL_BAD_BUNDLE,
                  text(path, ": results that are not probabilities, whose sum is 1: export the bundle again"));
  }
}

}  // namespace

CpuBackend::CpuBackend(std::shared_ptr<Sessions> sessions, std::string precision, int threads)
    : sessions_(std::move(sessions)),
      manifest_(sessions_->bundle().manifest()),
      precision_(std::move(precision)),
      threads_(threads) {}

void CpuBackend::rows(const LevelInputs& inputs, const AfterRow& after_row) {
  auto& loop = loops_[inputs.level];
  const Level& level = manifest_.levels[inputs.level];
  if (!loop || loop->batch() != inputs.batch) {
    loop.reset();  // before the new one needs memory
    loop = std::make_unique<PriorLoop>(*sessions_, level, precision_, threads_, inputs.batch);
  }
  try {
    loop->run(inputs, options_, after_row);
  } catch (...) {
    loop.reset();  // its state can hold anything
    throw;
  }
}

void CpuBackend::encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) {
  if (!encoder_) encoder_ = checked_encoder(*sessions_, threads_);
  try {
    const Value input = tensor(images, Type::uint8, {n, manifest_.height, manifest_.width, manifest_.channels});
    std::vector<Value> outputs;
    Call call{encoder_};
    call.bind_input("images", input.get());
    for (size_t l = 0; l < codes.size(); ++l) {
      const Level& level = manifest_.levels[l];
      outputs.push_back(tensor(codes[l], Type::int64, {n, level.height, level.width}));
      call.bind_output(level.name, outputs.back().get());
    }
    call.run(options_);
  } catch (...) {
    rethrow_as_bundle_error(text(encoder_->path(), " does not fit the manifest"));
  }
}

void CpuBackend::decode(int64_t n, const std::vector<const int64_t*>& codes, uint8_t* images) {
  if (!decoder_) decoder_ = checked_decoder(*sessions_, threads_);
  const Shape shape{n, manifest_.height, manifest_.width, manifest_.channels};
  decoded_.resize(static_cast<size_t>(elements(shape)));
  try {
    std::vector<Value> inputs;
    Call call{decoder_};
    for (size_t l = 0; l < codes.size(); ++l) {
      const Level& level = manifest_.levels[l];
      inputs.push_back(tensor(codes[l], Type::int64, {n, level.height, level.width}));
      call.bind_input(level.name, inputs.back().get());
    }
    const Value rounded = tensor(images, Type::uint8, shape), unrounded = tensor(decoded_.data(), Type::float32, shape);
    call.bind_output("images", rounded.get());
    call.bind_output("decoded", unrounded.get());
    call.run(options_);
  } catch (...) {
    rethrow_as_bundle_error(text(decoder_->path(), " does not fit the manifest"));
  }
  if (!is_finite(decoded_))
    throw Error(LL_BAD_BUNDLE, text(decoder_->path(), ": pixels that are not finite: the weights are damaged"));
}

void CpuBackend::classify(int64_t n, const uint8_t* images, float* probabilities) {
  if (!classifier_) classifier_ = checked_classifier(*sessions_, threads_);
  const auto classes = static_cast<int64_t>(manifest_.classes.size());
  try {
    const Value input = tensor(images, Type::uint8, {n, manifest_.height, manifest_.width, manifest_.channels});
    const Value output = tensor(probabilities, Type::float32, {n, classes});
    Call call{classifier_};
    call.bind_input("images", input.get());
    call.bind_output("probabilities", output.get());
    call.run(options_);
  } catch (...) {
    rethrow_as_bundle_error(text(classifier_->path(), " does not fit the manifest"));
  }
  check_probabilities(classifier_->path(), probabilities, n, classes);
}

}  // namespace latentloop
