// ll_encode, ll_decode, ll_log_likelihood and ll_classify with wrong arguments: nothing is written.
#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

constexpr int64_t kCount{2};

void test_null(const Opened& opened) {
  Samples samples(opened, kCount);
  ll_sampler* sampler = opened.sampler;
  uint8_t* images = samples.images.data();
  const size_t bytes = samples.images.size();
  std::vector<double> nats(kCount * opened.code_count(0), -7);
  std::vector<double*> nats_of(opened.levels.size());
  std::vector<float> probabilities(kCount * ll_bundle_classes(opened.bundle), -7);
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null", ll_encode(nullptr, images, bytes, kCount, samples.pointers.data()));
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null", samples.decode(nullptr, kCount));
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null",
          ll_log_likelihood(nullptr, samples.inputs.data(), nullptr, kCount, nats_of.data()));
  REFUSED(LL_INVALID_ARGUMENT, "sampler is null", ll_classify(nullptr, images, bytes, kCount, probabilities.data()));

  REFUSED(LL_INVALID_ARGUMENT, "images is null", ll_encode(sampler, nullptr, bytes, kCount, samples.pointers.data()));
  REFUSED(LL_INVALID_ARGUMENT, "images is null", ll_decode(sampler, samples.inputs.data(), kCount, nullptr, bytes));
  REFUSED(LL_INVALID_ARGUMENT, "images is null", ll_classify(sampler, nullptr, bytes, kCount, probabilities.data()));
  REFUSED(LL_INVALID_ARGUMENT, "codes is null", ll_encode(sampler, images, bytes, kCount, nullptr));
  REFUSED(LL_INVALID_ARGUMENT, "codes is null", ll_decode(sampler, nullptr, kCount, images, bytes));
  REFUSED(LL_INVALID_ARGUMENT, "codes is null", ll_log_likelihood(sampler, nullptr, nullptr, kCount, nats_of.data()));
  REFUSED(LL_INVALID_ARGUMENT, "nats is null",
          ll_log_likelihood(sampler, samples.inputs.data(), nullptr, kCount, nullptr));
  REFUSED(LL_INVALID_ARGUMENT, "probabilities is null", ll_classify(sampler, images, bytes, kCount, nullptr));
  REQUIRE(samples.untouched() && nats[0] == -7 && probabilities[0] == -7);
}

void test_sizes(const Opened& opened) {
  Samples samples(opened, kCount);
  uint8_t* images = samples.images.data();
  std::vector<double*> nats(opened.levels.size());
  std::vector<float> probabilities(kCount * ll_bundle_classes(opened.bundle), -7);
  std::vector<std::vector<int64_t>> zeros;
  std::vector<const int64_t*> codes;
  for (size_t l = 0; l < opened.levels.size(); ++l) zeros.emplace_back(kCount * opened.code_count(l));
  for (const auto& level : zeros) codes.push_back(level.data());
  for (const size_t bytes : {size_t{0}, opened.image, kCount * opened.image - 1}) {
    REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
            ll_encode(opened.sampler, images, bytes, kCount, samples.pointers.data()));
    REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ", ll_decode(opened.sampler, codes.data(), kCount, images, bytes));
    REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
            ll_classify(opened.sampler, images, bytes, kCount, probabilities.data()));
  }
  for (const int64_t count : {int64_t{-1}, INT64_MIN, INT64_MAX, (int64_t{1} << 40) + 1}) {
    const size_t bytes = samples.images.size();
    REFUSED(LL_INVALID_ARGUMENT, "count is ", ll_encode(opened.sampler, images, bytes, count, samples.pointers.data()));
    REFUSED(LL_INVALID_ARGUMENT, "count is ", ll_decode(opened.sampler, codes.data(), count, images, bytes));
    REFUSED(LL_INVALID_ARGUMENT, "count is ",
            ll_log_likelihood(opened.sampler, codes.data(), nullptr, count, nats.data()));
    REFUSED(LL_INVALID_ARGUMENT, "count is ", ll_classify(opened.sampler, images, bytes, count, probabilities.data()));
  }
  REFUSED(LL_INVALID_ARGUMENT, "images_bytes is ",
          ll_encode(opened.sampler, images, samples.images.size(), int64_t{1} << 40, samples.pointers.data()));
  REQUIRE(samples.untouched() && probabilities[0] == -7);
}

void test_codes(const Opened& opened) {
  Samples samples(opened, kCount);
  std::vector<std::vector<int64_t>> zeros;
  std::vector<const int64_t*> codes;
  std::vector<std::vector<double>> nats;
  std::vector<double*> nats_of;
  for (size_t l = 0; l < opened.levels.size(); ++l) {
    zeros.emplace_back(kCount * opened.code_count(l));
    nats.emplace_back(zeros.back().size(), -7);
  }
  for (size_t l = 0; l < opened.levels.size(); ++l) {
    codes.push_back(zeros[l].data());
    nats_of.push_back(nats[l].data());
  }
  const int64_t classes = ll_bundle_classes(opened.bundle);
  int64_t labels[kCount]{};
  const auto refuse = [&](const char* word) {
    REFUSED(LL_INVALID_ARGUMENT, word,
            ll_decode(opened.sampler, codes.data(), kCount, samples.images.data(), samples.images.size()));
    REFUSED(LL_INVALID_ARGUMENT, word, ll_log_likelihood(opened.sampler, codes.data(), labels, kCount, nats_of.data()));
    REQUIRE(samples.untouched() && nats[0][0] == -7);
  };
  for (size_t l = 0; l < opened.levels.size(); ++l) {
    const std::string name{opened.levels[l].name};
    codes[l] = nullptr;
    refuse(("codes of " + name + " are null").c_str());
    codes[l] = zeros[l].data();
    zeros[l].back() = -1;  // not drawn: only to be decoded
    REFUSED(LL_INVALID_ARGUMENT, ("codes of " + name + ", sample 1: -1, expected 0 to ").c_str(),
            ll_log_likelihood(opened.sampler, codes.data(), labels, kCount, nats_of.data()));
    for (const int64_t code : {int64_t{-2}, int64_t{opened.levels[l].codebook_size}, INT64_MAX, INT64_MIN}) {
      zeros[l].back() = code;
      refuse(("codes of " + name + ", sample 1: ").c_str());
    }
    zeros[l].back() = 0;
  }
  for (const int64_t label : {int64_t{-1}, classes, INT64_MAX, INT64_MIN}) {
    labels[1] = label;
    REFUSED(LL_INVALID_ARGUMENT, "labels[1] is ",
            ll_log_likelihood(opened.sampler, codes.data(), labels, kCount, nats_of.data()));
  }
  REFUSED(LL_INVALID_ARGUMENT, "labels are missing",
          ll_log_likelihood(opened.sampler, codes.data(), nullptr, kCount, nats_of.data()));
  REQUIRE(nats[0][0] == -7);
  labels[1] = 0;
  REQUIRE(ll_log_likelihood(opened.sampler, codes.data(), labels, kCount, nats_of.data()) == LL_OK);
  REQUIRE(nats[0][0] <= 0);
}

void test_nothing(const Opened& opened) {
  Samples samples(opened, 1);
  const std::vector<const int64_t*> none(opened.levels.size());
  const std::vector<double*> nats(opened.levels.size());
  REQUIRE(ll_encode(opened.sampler, nullptr, 0, 0, samples.pointers.data()) == LL_OK);
  REQUIRE(ll_decode(opened.sampler, none.data(), 0, nullptr, 0) == LL_OK);
  REQUIRE(ll_log_likelihood(opened.sampler, none.data(), nullptr, 0, nats.data()) == LL_OK);
  REQUIRE(ll_classify(opened.sampler, nullptr, 0, 0, nullptr) == LL_OK);
  REQUIRE(samples.untouched());
  const std::vector<int64_t*> unwanted(opened.levels.size());
  REQUIRE(ll_encode(opened.sampler, samples.images.data(), opened.image, 1, unwanted.data()) == LL_OK);
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments));
  REQUIRE(ll_bundle_has_classifier(opened.bundle) == 1);
  test_null(opened);
  test_sizes(opened);
  test_codes(opened);
  test_nothing(opened);
}
