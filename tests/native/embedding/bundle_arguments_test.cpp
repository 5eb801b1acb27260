// Every function of the library and of bundles with wrong arguments. Needs no ONNX Runtime.
#include <climits>

#include "program.h"

namespace {

void test_null() {
  ll_bundle* bundle = reinterpret_cast<ll_bundle*>(1);
  REFUSED(LL_INVALID_ARGUMENT, "directory is null", ll_bundle_open(nullptr, &bundle));
  REQUIRE(bundle == nullptr);
  REFUSED(LL_INVALID_ARGUMENT, "out is null", ll_bundle_open("missing", nullptr));
  ll_bundle_close(nullptr);
  int32_t size = -7;
  ll_level level{};
  REFUSED(LL_INVALID_ARGUMENT, "bundle is null", ll_bundle_image(nullptr, &size, &size, &size));
  REFUSED(LL_INVALID_ARGUMENT, "bundle is null", ll_bundle_level(nullptr, 0, &level));
  REQUIRE(size == -7 && level.name == nullptr);
  REQUIRE(ll_bundle_levels(nullptr) == 0 && ll_bundle_classes(nullptr) == 0 && ll_bundle_precisions(nullptr) == 0);
  REQUIRE(ll_bundle_class_name(nullptr, 0) == nullptr && ll_bundle_precision(nullptr, 0) == nullptr);
  REQUIRE(ll_bundle_has_classifier(nullptr) == 0);

  ll_sampler* sampler = reinterpret_cast<ll_sampler*>(1);
  REFUSED(LL_INVALID_ARGUMENT, "bundle is null", ll_sampler_create(nullptr, nullptr, &sampler));
  REQUIRE(sampler == nullptr);
  REFUSED(LL_INVALID_ARGUMENT, "out is null", ll_sampler_create(nullptr, nullptr, nullptr));
  ll_sampler_destroy(nullptr);
  ll_cancel(nullptr);
  REQUIRE(std::strcmp(ll_sampler_device(nullptr), "") == 0);
  ll_set_log(nullptr, nullptr);
}

void test_paths() {
  for (const std::string& path : {std::string("missing"), std::string("/dev/null"), std::string("\xff"),
                                  std::string(100'000, 'x'), std::string("missing/../missing\n")}) {
    ll_bundle* bundle = reinterpret_cast<ll_bundle*>(1);
    REFUSED(LL_BAD_BUNDLE, "", ll_bundle_open(path.c_str(), &bundle));
    REQUIRE(bundle == nullptr);
  }
  ll_bundle* bundle = nullptr;
  REFUSED(LL_INVALID_ARGUMENT, "directory is empty", ll_bundle_open("", &bundle));
}

void test_indices(const char* folder) {
  ll_bundle* bundle = nullptr;
  REQUIRE(ll_bundle_open(folder, &bundle) == LL_OK);
  ll_level level{};
  for (const int32_t index : {-1, ll_bundle_levels(bundle), INT_MAX, INT_MIN})
    REFUSED(LL_INVALID_ARGUMENT, "index is ", ll_bundle_level(bundle, index, &level));
  REQUIRE(level.name == nullptr && level.height == 0);
  REFUSED(LL_INVALID_ARGUMENT, "out is null", ll_bundle_level(bundle, 0, nullptr));
  for (const int32_t index : {-1, ll_bundle_classes(bundle), INT_MAX, INT_MIN})
    REQUIRE(ll_bundle_class_name(bundle, index) == nullptr);
  for (const int32_t index : {-1, ll_bundle_precisions(bundle), INT_MAX, INT_MIN})
    REQUIRE(ll_bundle_precision(bundle, index) == nullptr);
  REQUIRE(ll_bundle_image(bundle, nullptr, nullptr, nullptr) == LL_OK);
  for (int32_t index = 0; index < ll_bundle_levels(bundle); ++index) {
    REQUIRE(ll_bundle_level(bundle, index, &level) == LL_OK);
    REQUIRE(level.name[0] != '\0' && level.height > 0 && level.width > 0 && level.codebook_size > 0);
  }
  for (int32_t index = 0; index < ll_bundle_classes(bundle); ++index)
    REQUIRE(ll_bundle_class_name(bundle, index)[0] != '\0');
  REQUIRE(std::strcmp(ll_bundle_precision(bundle, 0), "float32") == 0);
  ll_bundle_close(bundle);
}

void test_names() {
  REQUIRE(ll_version()[0] != '\0');
  for (int status = -2; status < 20; ++status) {
    const bool is_known = status >= LL_OK && status <= LL_INTERNAL;
    REQUIRE((std::strcmp(ll_status_name(static_cast<ll_status>(status)), "unknown") != 0) == is_known);
  }
}

}  // namespace

int main(int count, char** arguments) {
  REQUIRE(std::strcmp(ll_last_error(), "") == 0);
  test_null();
  test_paths();
  test_indices(embedding::folder(count, arguments));
  test_names();
}
