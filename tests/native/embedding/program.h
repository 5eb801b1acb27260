// What the programs of this folder share: checks, a bundle with one sampler, and memory for samples. The first failure
// ends the program.
#pragma once

#include <latentloop/latentloop.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace embedding {

constexpr int kSkipped{77};

#define REQUIRE(condition) ::embedding::require((condition), #condition, __FILE__, __LINE__)

// A call that must return the status, and set the last error to a text that contains the word.
#define REFUSED(status, word, call) ::embedding::refused((status), (word), (call), #call, __FILE__, __LINE__)

inline void require(bool holds, const char* what, const char* file, int line) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: %s; the last error: %s\n", file, line, what, ll_last_error());
  std::_Exit(1);  // without the end of threads that still run
}

inline void refused(ll_status expected, const char* word, ll_status found, const char* call, const char* file,
                    int line) {
  const std::string error{ll_last_error()};
  if (found == expected && !error.empty() && error.find(word) != std::string::npos) return;
  std::fprintf(stderr, "%s:%d: %s: %s, %s; expected %s, a text with '%s'\n", file, line, call, ll_status_name(found),
               error.c_str(), ll_status_name(expected), word);
  std::_Exit(1);
}

// An open bundle and a sampler on one thread. Ends the program as skipped without ONNX Runtime.
class Opened {
 public:
  explicit Opened(const char* folder, int32_t threads = 1) {
    REQUIRE(ll_bundle_open(folder, &bundle) == LL_OK);
    sampler = new_sampler(threads);
    int32_t height, width, channels;
    REQUIRE(ll_bundle_image(bundle, &height, &width, &channels) == LL_OK);
    image = static_cast<size_t>(height) * width * channels;
    for (int32_t l = 0; l < ll_bundle_levels(bundle); ++l) {
      levels.emplace_back();
      REQUIRE(ll_bundle_level(bundle, l, &levels.back()) == LL_OK);
    }
  }
  ~Opened() {
    ll_bundle_close(bundle);
    ll_sampler_destroy(sampler);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  ll_sampler* new_sampler(int32_t threads = 1) const {
    ll_sampler_params params = ll_default_sampler_params();
    params.threads = threads;
    ll_sampler* created = nullptr;
    const ll_status status = ll_sampler_create(bundle, &params, &created);
    if (status == LL_MISSING) {
      std::printf("skipped: %s\n", ll_last_error());
      std::exit(kSkipped);
    }
    REQUIRE(status == LL_OK && created != nullptr);
    return created;
  }

  size_t code_count(size_t level) const { return static_cast<size_t>(levels[level].height) * levels[level].width; }

  ll_bundle* bundle{};
  ll_sampler* sampler{};
  size_t image{};  // bytes
  std::vector<ll_level> levels;
};

// Memory for samples, filled with values that no sample has.
class Samples {
 public:
  static constexpr int64_t kNoCode{-7};

  Samples(const Opened& opened, size_t count) : images(count * opened.image, 77) {
    for (size_t l = 0; l < opened.levels.size(); ++l) codes.emplace_back(count * opened.code_count(l), kNoCode);
    for (auto& level : codes) pointers.push_back(level.data());
    for (auto& level : codes) inputs.push_back(level.data());
  }
  Samples(const Samples&) = delete;
  Samples& operator=(const Samples&) = delete;

  ll_status draw(ll_sampler* sampler, const ll_sample_params& params) {
    return ll_sample(sampler, &params, images.data(), images.size(), pointers.data(), &finished);
  }
  ll_status decode(ll_sampler* sampler, int64_t count) {
    return ll_decode(sampler, inputs.data(), count, images.data(), images.size());
  }

  // Whether the first n samples, at most, are the same.
  bool begins_like(const Samples& other, int64_t n, int64_t count) const {
    const auto same = [&](const auto& a, const auto& b) {
      return std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(a.size() / count * n), b.begin());
    };
    for (size_t l = 0; l < codes.size(); ++l)
      if (!same(codes[l], other.codes[l])) return false;
    return same(images, other.images);
  }

  bool untouched() const {
    for (const uint8_t value : images)
      if (value != 77) return false;
    for (const auto& level : codes)
      for (const int64_t code : level)
        if (code != kNoCode) return false;
    return true;
  }

  std::vector<uint8_t> images;
  std::vector<std::vector<int64_t>> codes;
  std::vector<int64_t*> pointers;
  std::vector<const int64_t*> inputs;
  int64_t finished{-1};
};

inline ll_sample_params request(int64_t count, uint64_t seed, int64_t batch = 0) {
  ll_sample_params params = ll_default_sample_params();
  params.count = count;
  params.seed = seed;
  params.batch = batch;
  return params;
}

// The bundle's folder, the program's argument.
inline const char* folder(int count, char** arguments) {
  REQUIRE(count == 2);
  return arguments[1];
}

}  // namespace embedding
