#include "manifest_checks.h"

#include <algorithm>
#include <array>
#include <set>

#include "../draws/settings.h"
#include "../io/bundle_error.h"
#include "../io/quoting.h"
#include "prior_checks.h"

namespace latentloop {
namespace {

__extension__ using Wide = __int128;

constexpr int64_t kLargestImage{1 << 28};  // values; a larger one is a mistake or an attack
constexpr std::array<const char*, 2> kPrecisions{"float32", "int8"};
// Arrays in files of codes, NumPy's own arguments, and inputs and outputs of the encoder and the decoder.
constexpr std::array<const char*, 7> kTakenNames{"files",        "seeds",  "labels", "file",
                                                 "allow_pickle", "images", "decoded"};

template <typename List>
bool contains(const List& items, const std::string& item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

void check_image(const Manifest& manifest, const std::string& source) {
  const std::string image = shape_text({manifest.height, manifest.width, manifest.channels});
  if (manifest.channels != 1 && manifest.channels != 3) {
    throw bundle_error(source, ".image is ", image, ", expected 1 channel (grey) or 3 (RGB), listed last");
  }
  if (Wide{manifest.height} * manifest.width * manifest.channels > kLargestImage) {
    throw bundle_error(source, ".image is ", image, ", expected at most ", kLargestImage, " values");
  }
}

void check_level_names(const Manifest& manifest, const std::string& source) {
  std::vector<std::string> names;
  for (const Level& level : manifest.levels) names.push_back(level.name);
  check_distinct(source + ".levels", names);
  for (size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty() && !contains(kTakenNames, names[i])) continue;
    throw bundle_error(source, ".levels[", i, "].name is ", in_quotes(names[i]), ", expected a name, and none of ",
                       joined(kTakenNames));
  }
}

// Checks that the image is the bottom grid times a power of two, and each grid twice that of the level above.
void check_grids(const Manifest& manifest, const std::string& source) {
  const int64_t height = manifest.height, width = manifest.width;
  const Level& bottom = manifest.levels.back();
  int64_t scale = height / bottom.height;
  if (scale < 2 || (scale & (scale - 1)) != 0) {
    throw bundle_error(source, ".levels: ", bottom.name, " has ", bottom.height, " rows for images of ", height, " x ",
                       width, ", expected the height divided by a power of two");
  }
  for (size_t i = manifest.levels.size(); i-- > 0; scale *= 2) {  // at most to twice the height: the next check fails
    const Level& level = manifest.levels[i];
    if (Wide{level.height} * scale != height || Wide{level.width} * scale != width) {
      const auto expected = [scale](int64_t size) {
        return rounded_text(static_cast<double>(size) / static_cast<double>(scale));
      };
      throw bundle_error(source, ".levels: ", level.name, " has the grid ", level.height, " x ", level.width,
                         ", expected ", expected(height), " x ", expected(width), " for images of ", height, " x ",
                         width);
    }
    const std::string* upper = i > 0 ? &manifest.levels[i - 1].name : nullptr;
    if (!level.prior || !level.prior->condition_level) continue;
    if (upper == nullptr || *level.prior->condition_level != *upper) {
      throw bundle_error(source, ".levels: the condition_level of ", level.name, " is ",
                         in_quotes(*level.prior->condition_level), ", expected ", upper ? in_quotes(*upper) : "none");
    }
  }
}

// Checks that every prior has all graphs of every precision, and no others.
void check_graphs(const Manifest& manifest, const std::string& source) {
  for (const std::string& precision : manifest.precisions) {
    if (contains(kPrecisions, precision)) continue;
    throw bundle_error(source, ".precisions has ", in_quotes(precision), ", expected some of ", joined(kPrecisions));
  }
  if (!contains(manifest.precisions, "float32")) throw bundle_error(source, ".precisions: 'float32' is missing");
  check_distinct(source + ".precisions", manifest.precisions);
  const auto required = required_graphs(manifest.precisions), known = known_graphs(manifest.precisions);
  for (size_t i = 0; i < manifest.levels.size(); ++i) {
    if (!manifest.levels[i].prior) continue;
    const auto& graphs = manifest.levels[i].prior->graphs;
    const std::string where = text(source, ".levels[", i, "].prior.graphs.");
    for (const std::string& name : required) {
      if (graphs.count(name) == 0) throw bundle_error(where, name, " is missing");
    }
    for (const auto& [name, graph] : graphs) {
      if (!contains(known, name)) throw bundle_error(where, name, " is unknown, expected one of ", joined(known));
    }
  }
}

// Checks that `files` lists every file that the manifest names, and that no file has two roles.
void check_files(const Manifest& manifest, const std::string& source) {
  std::vector<std::string> required{manifest.encoder, manifest.decoder, manifest.golden, manifest.weights};
  if (manifest.classifier) {
    required.push_back(*manifest.classifier);
    if (manifest.classes.empty()) {
      throw bundle_error(source, ".classifier is ", in_quotes(*manifest.classifier), ", but classes is empty");
    }
  }
  std::set<std::string> graphs;
  for (const Level& level : manifest.levels) {
    if (!level.prior) continue;
    for (const auto& [name, graph] : level.prior->graphs) graphs.insert(graph.file);
  }
  required.insert(required.end(), graphs.begin(), graphs.end());
  std::set<std::string> files, missing;
  for (const std::string& file : required) {
    if (!files.insert(file).second) {
      throw bundle_error(source, ": ", in_quotes(file),
                         " has two roles, expected different files for the encoder, the decoder, the golden vectors, "
                         "the weights, the classifier and the priors; export the bundle again");
    }
    if (manifest.files.count(file) == 0) missing.insert(file);
  }
  if (!missing.empty()) throw bundle_error(source, ".files does not list ", joined(missing));
}

void check_classes(const Manifest& manifest, const std::string& source) {
  check_distinct(source + ".classes", manifest.classes);
  for (size_t i = 0; i < manifest.classes.size(); ++i) {
    if (manifest.classes[i].empty()) throw bundle_error(source, ".classes[", i, "] is '', expected a name");
  }
}

}  // namespace

void check_manifest(const Manifest& manifest, const std::string& source) {
  if (manifest.version >= kUndrawnSince && !manifest.undrawn_codeword) {
    std::string expected;
    for (const char* usage : kUsages) expected += (expected.empty() ? "" : ", ") + std::string(usage);
    throw bundle_error(source, ".undrawn_codeword is missing, expected one of ", expected);
  }
  if (manifest.levels.empty()) throw bundle_error(source, ".levels is empty");
  check_image(manifest, source);
  check_level_names(manifest, source);
  check_grids(manifest, source);
  check_graphs(manifest, source);
  check_files(manifest, source);
  std::set<std::string> unknown;
  for (const Setting& setting : kSettings) {
    if (setting.since > manifest.version) unknown.insert(setting.name);
  }
  for (size_t i = 0; i < manifest.levels.size(); ++i) {
    const Level& level = manifest.levels[i];
    if (!level.prior) continue;
    const Level* upper = i > 0 ? &manifest.levels[i - 1] : nullptr;
    check_prior(level, upper, text(source, ".levels[", i, "].prior"), unknown, known_graphs({"float32", "int8"}));
    if (level.prior->classes && manifest.classes.empty()) {
      throw bundle_error(source, ".classes is empty, but the prior of ", level.name, " is conditioned on classes");
    }
  }
  check_classes(manifest, source);
}

}  // namespace latentloop
