#include "engine_set_reading.h"

#include "../bundles/loop_buffers.h"
#include "../bundles/manifest_reading.h"
#include "../io/bundle_error.h"
#include "../io/file.h"
#include "../io/file_names.h"
#include "../io/json.h"
#include "../io/json_fields.h"

namespace latentloop {
namespace {

// Version 2 is the first one with today's initial values of buffers that the loop writes or reads.
constexpr int64_t kOldestSet{1}, kNewestSet{2}, kFillsSinceSet{2};

template <size_t count>
std::string choice(const Field& field, const std::array<const char*, count>& choices) {
  return choices[field.choice({choices.begin(), choices.end()})];
}

std::vector<CodecTensor> read_tensors(const Field& field) {
  std::vector<CodecTensor> tensors;
  for (size_t i = 0; i < field.list().size(); ++i) {
    const Field tensor = field[i];
    const std::string& name = tensor["name"].string();
    const size_t type = tensor["dtype"].choice({kTypeNames.begin(), kTypeNames.begin() + kBundleTypes});
    tensors.push_back({name, static_cast<Type>(type), read_any_shape(tensor["shape"])});
  }
  return tensors;
}

CodecGraph read_codec(const Field& field) {
  return {field["file"].string(), read_tensors(field["inputs"]), read_tensors(field["outputs"])};
}

}  // namespace

EngineSet read_engines(const std::string& folder) {
  const std::string source = path_in(folder, kManifest);
  const Json json = read_json(source, source + " is missing");
  const Field field(json, source);
  const int64_t version = read_version(field, "latentloop-engines", kOldestSet, kNewestSet, "");
  EngineSet set;
  set.folder = folder;
  set.flavour = choice(field["flavour"], kFlavours);
  set.library = field["library"].string();
  set.architecture = field["architecture"].string();
  set.precision = choice(field["precision"], kEnginePrecisions);
  const Field profiles = field["profiles"], sources = field["sources"];
  for (size_t i = 0; i < profiles.list().size(); ++i) {
    const Field profile = profiles[i];
    set.profiles.push_back(
        {profile["minimum"].integer(1), profile["optimum"].integer(1), profile["maximum"].integer(1)});
  }
  for (const auto& member : sources.object()) set.sources[member.first] = sources[member].string();
  set.image = read_image(field["image"]);
  set.levels = read_levels(field["levels"], {kTypeNames.begin(), kTypeNames.end()});
  set.encoder = read_codec(field["encoder"]);
  set.decoder = read_codec(field["decoder"]);
  set.files = read_files(field["files"]);
  if (version < kFillsSinceSet) {
    for (Level& level : set.levels) set_fills(level);
  }
  if (set.profiles.empty()) throw bundle_error(profiles.where(), " is empty");
  for (size_t i = 0; i < set.profiles.size(); ++i) {
    const Field profile = profiles[i];
    profile["optimum"].integer(set.profiles[i].minimum);
    profile["maximum"].integer(set.profiles[i].optimum);
  }
  return set;
}

}  // namespace latentloop
