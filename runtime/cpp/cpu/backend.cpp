#include "backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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

// Images that are there already.
class Decoded final : public Decoding {
  void wait() override {}
};

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

// Runs the loops of the levels of which codes are to be drawn.
void CpuBackend::draw(const BatchInputs& inputs, const DrawCallbacks& callbacks) {
  for (size_t l = 0; l < inputs.codes.size(); ++l) {
    const Level& level = manifest_.levels[l];
    const int64_t size = level.height * level.width;
    int64_t* codes = inputs.codes[l];
    if (std::all_of(codes, codes + inputs.batch * size, [](int64_t code) { return code >= 0; })) continue;
    // A row of the forced codes is read before that row is overwritten.
    rows(inputs.of_level(l), [&](const Row& row) {
      for (int64_t b = 0; b < inputs.batch; ++b)
        for (int64_t j = 0; j < level.width; ++j)
          codes[b * size + row.i * level.width + j] = row.codes[j * inputs.batch + b];
      if (callbacks.progress) callbacks.progress(l, row.i + 1);
      callbacks.check();
    });
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
      auto& unwanted = unwanted_[l];
      if (codes[l] == nullptr) unwanted.resize(static_cast<size_t>(n * level.height * level.width));
      int64_t* target = codes[l] == nullptr ? unwanted.data() : codes[l];
      outputs.push_back(tensor(target, Type::int64, {n, level.height, level.width}));
      call.bind_output(level.name, outputs.back().get());
    }
    call.run(options_);
  } catch (...) {
    rethrow_as_bundle_error(text(encoder_->path(), " does not fit the manifest"));
  }
}

std::unique_ptr<Decoding> CpuBackend::decode(int64_t n, const std::vector<const int64_t*>& codes, int64_t wanted,
                                             uint8_t* images) {
  if (!decoder_) decoder_ = checked_decoder(*sessions_, threads_);
  const Shape shape{n, manifest_.height, manifest_.width, manifest_.channels};
  decoded_.resize(static_cast<size_t>(elements(shape)));
  padded_.resize(wanted < n ? decoded_.size() : 0);
  try {
    std::vector<Value> inputs;
    Call call{decoder_};
    for (size_t l = 0; l < codes.size(); ++l) {
      const Level& level = manifest_.levels[l];
      inputs.push_back(tensor(codes[l], Type::int64, {n, level.height, level.width}));
      call.bind_input(level.name, inputs.back().get());
    }
    const Value rounded = tensor(wanted < n ? padded_.data() : images, Type::uint8, shape),
                unrounded = tensor(decoded_.data(), Type::float32, shape);
    call.bind_output("images", rounded.get());
    call.bind_output("decoded", unrounded.get());
    call.run(options_);
  } catch (...) {
    rethrow_as_bundle_error(text(decoder_->path(), " does not fit the manifest"));
  }
  if (!is_finite(decoded_))
    throw Error(LL_BAD_BUNDLE, text(decoder_->path(), ": pixels that are not finite: the weights are damaged"));
  std::copy_n(padded_.data(), padded_.empty() ? 0 : wanted * elements(shape) / n, images);
  return std::make_unique<Decoded>();
}

void CpuBackend::set_stream(void* stream) {
  if (stream != nullptr) throw Error(LL_INVALID_ARGUMENT, "the sampler runs on the CPU, which has no streams");
}

void CpuBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
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
