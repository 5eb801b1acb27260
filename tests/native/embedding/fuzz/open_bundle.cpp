// A libFuzzer target: opens bundles with any manifest, and asks for everything that they contain.
//
//     open_bundle -runs=1000 FOLDER/seeds
//
// The environment variable LATENTLOOP_FUZZ names FOLDER, which tests/fuzz_seeds.py writes. The input is written as the
// manifest of FOLDER/whole and FOLDER/cut; one file of the latter is truncated.
#include <latentloop/latentloop.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void write(const std::string& path, const uint8_t* data, size_t size) {
  FILE* file = std::fopen(path.c_str(), "wb");
  require(file != nullptr && std::fwrite(data, 1, size, file) == size && std::fclose(file) == 0);
}

void ask(const ll_bundle* bundle) {
  int32_t height = 0, width = 0, channels = 0;
  require(ll_bundle_image(bundle, &height, &width, &channels) == LL_OK && height > 0 && width > 0);
  require(channels == 1 || channels == 3);
  const int32_t levels = ll_bundle_levels(bundle), classes = ll_bundle_classes(bundle);
  require(levels > 0 && classes >= 0);
  ll_level level{};
  for (int32_t i = 0; i < levels; ++i) {
    require(ll_bundle_level(bundle, i, &level) == LL_OK);
    require(level.height > 0 && level.width > 0 && level.codebook_size > 0 && level.name != nullptr);
  }
  require(ll_bundle_level(bundle, levels, &level) == LL_INVALID_ARGUMENT);
  for (int32_t i = 0; i < classes; ++i) require(ll_bundle_class_name(bundle, i) != nullptr);
  require(ll_bundle_class_name(bundle, classes) == nullptr);
  for (int32_t i = 0; i < ll_bundle_precisions(bundle); ++i) require(ll_bundle_precision(bundle, i) != nullptr);
  ll_bundle_has_classifier(bundle);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* base = std::getenv("LATENTLOOP_FUZZ");
  require(base != nullptr);
  for (const char* name : {"/whole", "/cut"}) {
    const std::string folder = std::string(base) + name;
    write(folder + "/manifest.json", data, size);
    ll_bundle* bundle = nullptr;
    const ll_status status = ll_bundle_open(folder.c_str(), &bundle);
    require((bundle != nullptr) == (status == LL_OK) && (status == LL_OK || status == LL_BAD_BUNDLE));
    if (status == LL_OK) {
      ask(bundle);
    } else {
      require(std::string(ll_last_error()).find(folder) != std::string::npos);
    }
    ll_bundle_close(bundle);
  }
  return 0;
}
