// ll_sample and ll_sample_best with wrong arguments: nothing is written, and the sampler can still be used.
#include <cmath>
#include <cstddef>
#include <limits>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

constexpr int64_t kCount{2};
constexpr float kNan{std::numeric_limits<float>::quiet_NaN()}, kInfinite{std::numeric_limits<float>::infinity()};

// Calls both functions, which must refuse the parameters with a text that contains the word.
void refuse(const Opened& opened, const char* word, const ll_sample_params& params) {
  Samples samples(opened, kCount);
  REFUSED(LL_INVALID_ARGUMENT, word, samples.draw(opened.sampler, params));
  REQUIRE(samples.untouched() && samples.finished == 0);
  uint64_t seeds[kCount]{7, 7};
  int64_t labels[kCount]{-7, -7}, finished = -1;
  float confidence[kCount]{-7, -7};
  REFUSED(LL_INVALID_ARGUMENT, word,
          ll_sample_best(opened.sampler, &params, 1, samples.images.data(), samples.images.size(),
                         samples.pointers.data(), seeds, labels, confidence, &finished));
  REQUIRE(samples.untouched() && finished == 0 && seeds[0] == 7 && labels[1] == -7 && confidence[0] == -7);
}

void test_numbers(const Opened& opened) {
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX, (int64_t{1} << 40) + 1})
    refuse(opened, "count is ", request(count, 0));
  for (const int64_t batch : {int64_t{-1}, int64_t{4097}, INT64_MAX, INT64_MIN})
    refuse(opened, "batch is ", request(kCount, 0, batch));
  refuse(opened, "seed is ", request(kCount, UINT64_MAX));
  const int64_t classes = ll_bundle_classes(opened.bundle);
  REQUIRE(classes > 0);
  for (const int64_t label : {int64_t{-1}, classes, INT64_MAX, INT64_MIN}) {
    const int64_t labels[]{0, label};
    ll_sample_params params = request(kCount, 0);
    params.labels = labels;
    refuse(opened, "labels[1] is ", params);
  }
}

template <typename T>
void test_setting(const Opened& opened, const T* ll_sample_params::* field, const char* word,
                  std::initializer_list<T> values) {
  for (const T value : values) {
    std::vector<T> settings(opened.levels.size(), 1);
    for (T& each : settings) {
      each = value;
      ll_sample_params params = request(kCount, 0);
      params.*field = settings.data();
      refuse(opened, word, params);
      each = 1;
    }
  }
}

void test_settings(const Opened& opened) {
  test_setting(opened, &ll_sample_params::temperature, "temperature for ",
               {0.0F, -0.0F, -1.0F, 2e20F, kNan, kInfinite, -kInfinite});
  test_setting(opened, &ll_sample_params::top_p, "top_p for ", {0.0F, -0.5F, 1.0001F, kNan, kInfinite});
  test_setting(opened, &ll_sample_params::min_p, "min_p for ", {-0.001F, 1.0001F, kNan, kInfinite, -kInfinite});
  test_setting<int64_t>(opened, &ll_sample_params::top_k, "top_k for ", {0, -1, INT64_MIN});
}

void test_given(const Opened& opened) {
  const int64_t labels[kCount]{};
  for (size_t l = 0; l < opened.levels.size(); ++l) {
    const size_t size = opened.code_count(l);
    std::vector<int64_t> codes(kCount * size, -1);
    std::vector<const int64_t*> given(opened.levels.size());
    given[l] = codes.data();
    ll_sample_params params = request(kCount, 0);
    params.given = given.data();
    params.labels = labels;
    for (const int64_t code : {int64_t{-2}, int64_t{opened.levels[l].codebook_size}, INT64_MAX, INT64_MIN}) {
      codes[size] = code;
      refuse(opened, "expected -1 to ", params);
    }
    codes[size] = -1;
    codes.back() = 0;
    refuse(opened, "follows a -1", params);
    codes.back() = -1;
    codes[0] = 0;
    params.labels = nullptr;
    refuse(opened, "pass labels", params);
  }
}

void test_struct_sizes(const Opened& opened) {
  for (const size_t size : {size_t{0}, size_t{1}, sizeof(ll_sample_params) - 8, size_t{4097}, size_t{UINT32_MAX}}) {
    ll_sample_params params = request(kCount, 0);
    params.size = static_cast<uint32_t>(size);
    refuse(opened, "size is ", params);
  }
  struct Later {
    ll_sample_params known;
    char added[4096 - sizeof(ll_sample_params)];
  } later{request(kCount, 0), {}};
  later.known.size = sizeof later;
  Samples samples(opened, kCount), expected(opened, kCount);
  REQUIRE(samples.draw(opened.sampler, later.known) == LL_OK);
  REQUIRE(expected.draw(opened.sampler, request(kCount, 0)) == LL_OK);
  REQUIRE(samples.begins_like(expected, kCount, kCount));
  later.added[sizeof later.added - 1] = 1;
  refuse(opened, "does not know", later.known);
}

void test_memory(const Opened& opened) {
  Samples samples(opened, kCount);
  const ll_sample_params params = request(kCount, 0);
  int64_t finished = -1;
  for (const size_t bytes : {size_t{0}, opened.image, kCount * opened.image - 1}) {
    REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
            ll_sample(opened.sampler, &params, samples.images.data(), bytes, samples.pointers.data(), &finished));
    REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
            ll_sample_best(opened.sampler, &params, 1, samples.images.data(), bytes, samples.pointers.data(), nullptr,
                           nullptr, nullptr, &finished));
  }
  const ll_sample_params many = request(int64_t{1} << 40, 0);
  REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
          ll_sample(opened.sampler, &many, samples.images.data(), samples.images.size(), nullptr, &finished));
  REQUIRE(samples.untouched() && finished == 0);
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null", samples.draw(nullptr, params));
  REQUIRE(samples.finished == 0);
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null",
          ll_sample_best(nullptr, &params, 1, nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr));
  REQUIRE(ll_sample(opened.sampler, nullptr, nullptr, 0, nullptr, nullptr) == LL_OK);  // nothing is wanted
}

void test_candidates(const Opened& opened) {
  Samples samples(opened, kCount);
  const auto best = [&](const ll_sample_params& params, int64_t candidates) {
    return ll_sample_best(opened.sampler, &params, candidates, samples.images.data(), samples.images.size(),
                          samples.pointers.data(), nullptr, nullptr, nullptr, nullptr);
  };
  for (const int64_t candidates : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX})
    REFUSED(LL_INVALID_ARGUMENT, "candidates is ", best(request(kCount, 0), candidates));
  REFUSED(LL_INVALID_ARGUMENT, "2^64", best(request(kCount, UINT64_MAX - 2), 2));
  const uint64_t seeds[kCount]{};
  ll_sample_params params = request(kCount, 0);
  params.seeds = seeds;
  REFUSED(LL_INVALID_ARGUMENT, "seeds is not null", best(params, 1));
  REQUIRE(samples.untouched());
}

void test_extremes(const Opened& opened) {
  const std::vector<float> highest(opened.levels.size(), 1e20F), lowest(opened.levels.size(), 1e-44F);
  const std::vector<int64_t> most(opened.levels.size(), INT64_MAX);
  const uint64_t seeds[]{UINT64_MAX, UINT64_MAX};
  Samples samples(opened, kCount), again(opened, kCount);
  ll_sample_params params = request(kCount, UINT64_MAX);
  params.seeds = seeds;  // `seed` is not read
  for (const std::vector<float>* temperature : {&highest, &lowest}) {
    params.temperature = temperature->data();
    params.top_k = most.data();
    params.top_p = lowest.data();
    REQUIRE(samples.draw(opened.sampler, params) == LL_OK && samples.finished == kCount);
  }
  REQUIRE(again.draw(opened.sampler, request(1, UINT64_MAX)) == LL_OK);
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments));
  Samples before(opened, kCount), after(opened, kCount);
  REQUIRE(before.draw(opened.sampler, request(kCount, 5)) == LL_OK);
  test_numbers(opened);
  test_settings(opened);
  test_given(opened);
  test_struct_sizes(opened);
  test_memory(opened);
  test_candidates(opened);
  test_extremes(opened);
  REQUIRE(after.draw(opened.sampler, request(kCount, 5)) == LL_OK);
  REQUIRE(after.begins_like(before, kCount, kCount));
}
