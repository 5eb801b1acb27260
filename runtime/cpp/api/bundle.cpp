// The functions of bundles.
#include "devices.h"
#include "guard.h"

using latentloop::guarded;
using latentloop::require;

ll_status ll_bundle_open(const char* directory, ll_bundle** out) {
  return guarded([=] {
    require(out, "out");
    *out = nullptr;
    require(directory, "directory");
    if (*directory == '\0') throw latentloop::Error(LL_INVALID_ARGUMENT, "directory is empty");
    auto bundle = std::make_shared<const latentloop::Bundle>(directory);
    auto sessions = std::make_shared<latentloop::Sessions>(bundle);
    *out = new ll_bundle{std::move(bundle), std::move(sessions), latentloop::new_loaded_engines()};
  });
}

void ll_bundle_close(ll_bundle* bundle) { delete bundle; }

ll_status ll_bundle_image(const ll_bundle* bundle, int32_t* height, int32_t* width, int32_t* channels) {
  return guarded([=] {
    require(bundle, "bundle");
    const latentloop::Manifest& manifest = bundle->bundle->manifest();
    if (height != nullptr) *height = static_cast<int32_t>(manifest.height);
    if (width != nullptr) *width = static_cast<int32_t>(manifest.width);
    if (channels != nullptr) *channels = static_cast<int32_t>(manifest.channels);
  });
}

int32_t ll_bundle_levels(const ll_bundle* bundle) {
  return bundle == nullptr ? 0 : static_cast<int32_t>(bundle->bundle->manifest().levels.size());
}

ll_status ll_bundle_level(const ll_bundle* bundle, int32_t index, ll_level* out) {
  return guarded([=] {
    require(bundle, "bundle");
    require(out, "out");
    const auto& levels = bundle->bundle->manifest().levels;
    if (index < 0 || static_cast<size_t>(index) >= levels.size())
      throw latentloop::Error(LL_INVALID_ARGUMENT,
                              latentloop::text("index is ", index, ", expected 0 to ", levels.size() - 1));
    const latentloop::Level& level = levels[static_cast<size_t>(index)];
    if (level.codebook_size > INT32_MAX)
      throw latentloop::Error(LL_BAD_BUNDLE, latentloop::text(level.name, " has ", level.codebook_size, " codes"));
    *out = {level.name.c_str(), static_cast<int32_t>(level.height), static_cast<int32_t>(level.width),
            static_cast<int32_t>(level.codebook_size), level.prior ? 1 : 0};
  });
}

namespace {

using Names = std::vector<std::string> latentloop::Manifest::*;

int32_t count(const ll_bundle* bundle, Names names) {
  return bundle == nullptr ? 0 : static_cast<int32_t>((bundle->bundle->manifest().*names).size());
}

const char* name(const ll_bundle* bundle, Names names, int32_t index) {
  if (index < 0 || index >= count(bundle, names)) return nullptr;
  return (bundle->bundle->manifest().*names)[static_cast<size_t>(index)].c_str();
}

}  // namespace

int32_t ll_bundle_classes(const ll_bundle* bundle) { return count(bundle, &latentloop::Manifest::classes); }

const char* ll_bundle_class_name(const ll_bundle* bundle, int32_t index) {
  return name(bundle, &latentloop::Manifest::classes, index);
}

int32_t ll_bundle_precisions(const ll_bundle* bundle) { return count(bundle, &latentloop::Manifest::precisions); }

const char* ll_bundle_precision(const ll_bundle* bundle, int32_t index) {
  return name(bundle, &latentloop::Manifest::precisions, index);
}

int32_t ll_bundle_has_classifier(const ll_bundle* bundle) {
  return bundle != nullptr && bundle->bundle->manifest().classifier ? 1 : 0;
}
