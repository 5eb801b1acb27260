#include "manifest_reading.h"

#include <algorithm>

#include "../io/bundle_error.h"
#include "../io/json_fields.h"
#include "loop_buffers.h"
#include "manifest_checks.h"
#include "prior_checks.h"

namespace latentloop {
namespace {

using Indices = std::map<std::string, size_t>;  // of state buffers, by name

constexpr int64_t kOldest{3}, kNewest{5};   // versions that are read
constexpr int64_t kMostColumns{1 << 20};    // in a view
constexpr int64_t kLargestFill{INT32_MAX};  // -1 is the smallest
const std::string kBatchName{"batch"};      // the only dynamic size

std::optional<std::string> optional_string(const Field& field) {
  return field.is_absent() ? std::nullopt : std::optional(field.string());
}

// Reads a shape in which only one size is dynamic, the number of samples.
Shape read_shape(const Field& field) {
  Shape shape;
  bool is_valid = true;
  for (const Json& item : field.shape()) {
    const int64_t* size = std::get_if<int64_t>(&item.value);
    if (size == nullptr && std::get<std::string>(item.value) != kBatchName) is_valid = false;
    shape.push_back(size == nullptr ? kBatch : *size);
  }
  if (!is_valid || std::count(shape.begin(), shape.end(), kBatch) > 1 || shape.size() > kMostAxes) {
    field.fail(text("at most ", kMostAxes, " sizes, of which at most one is 'batch' and the others are integers"));
  }
  return shape;
}

StateBuffer read_buffer(const Field& field) {
  StateBuffer buffer;
  buffer.name = field["name"].string();
  field["dtype"].string();
  field["shape"].shape();
  const auto fill = field["fill"].integer_or("index", -1, kLargestFill);
  buffer.fill = fill.value_or(0);
  buffer.fill_is_index = !fill;
  buffer.ring = field["ring"].boolean();
  buffer.padding = field["padding"].integer();
  buffer.type = static_cast<Type>(field["dtype"].choice({"float32", "int64", "uint8"}));
  buffer.shape = read_shape(field["shape"]);
  return buffer;
}

Binding read_binding(const Field& field, const Indices& buffers) {
  Binding binding;
  binding.name = field["name"].string();
  binding.memory = field["memory"].string();
  const auto buffer = buffers.find(binding.memory);
  binding.buffer = buffer == buffers.end() ? kNoBuffer : buffer->second;
  binding.view = static_cast<View>(field["view"].choice({"all", "row", "entries", "span", "columns"}));
  binding.back = field["back"].integer();
  binding.first = field["first"].integer(-kMostColumns, kMostColumns);
  binding.count = field["count"].integer(0, kMostColumns);
  // Sets of engines have these fields.
  if (!field["dtype"].is_absent()) field["dtype"].string();
  if (!field["shape"].is_absent()) field["shape"].shape();
  return binding;
}

std::vector<Binding> read_bindings(const Field& field, const Indices& buffers) {
  std::vector<Binding> bindings;
  for (size_t i = 0; i < field.list().size(); ++i) bindings.push_back(read_binding(field[i], buffers));
  return bindings;
}

Graph read_graph(const Field& field, const Indices& buffers) {
  return {field["file"].string(), read_bindings(field["inputs"], buffers), read_bindings(field["outputs"], buffers)};
}

Prior read_prior(const Field& field) {
  Prior prior;
  prior.condition_level = optional_string(field["condition_level"]);
  prior.classes = field["classes"].boolean();
  prior.columns_per_step = field["columns_per_step"].integer(1, 2);
  const Field memories = field["memories"];
  for (size_t i = 0; i < memories.list().size(); ++i) prior.buffers.push_back(read_buffer(memories[i]));
  Indices indices;
  for (size_t i = 0; i < prior.buffers.size(); ++i) indices[prior.buffers[i].name] = i;
  const Field graphs = field["graphs"];
  for (const auto& member : graphs.object()) prior.graphs[member.first] = read_graph(graphs[member], indices);
  return prior;
}

Level read_level(const Field& field) {
  Level level;
  level.name = field["name"].string();
  level.height = field["height"].integer(1);
  level.width = field["width"].integer(1);
  level.codebook_size = field["codebook_size"].integer(1);
  if (const Field prior = field["prior"]; !prior.is_absent()) level.prior = read_prior(prior);
  return level;
}

void read_image(const Field& field, Manifest& manifest) {
  const Json::Array& image = field.shape();
  const auto is_name = [](const Json& item) { return !std::holds_alternative<int64_t>(item.value); };
  if (image.size() != 3 || std::any_of(image.begin(), image.end(), is_name)) field.fail("[height, width, channels]");
  manifest.height = std::get<int64_t>(image[0].value);
  manifest.width = std::get<int64_t>(image[1].value);
  manifest.channels = std::get<int64_t>(image[2].value);
}

int64_t read_version(const Field& manifest) {
  manifest["format"].choice({"latentloop-bundle"});
  const Field field = manifest["version"];
  const int64_t version = field.integer();
  if (version < kOldest || version > kNewest) {
    throw bundle_error(field.where(), " is ", version, ", this LatentLoop reads ", kOldest, " to ", kNewest,
                       ": use a matching release, or export the bundle again");
  }
  return version;
}

}  // namespace

Manifest read_manifest(const Json& json, const std::string& source) {
  const Field field(json, source);
  Manifest manifest;
  manifest.version = read_version(field);
  read_image(field["image"], manifest);
  const Field levels = field["levels"];
  for (size_t i = 0; i < levels.list().size(); ++i) manifest.levels.push_back(read_level(levels[i]));
  manifest.encoder = field["encoder"].string();
  manifest.decoder = field["decoder"].string();
  manifest.golden = field["golden"].string();
  manifest.weights = field["weights"].string();
  manifest.classes = field["classes"].strings();
  manifest.precisions = field["precisions"].strings();
  field["exporter"].string();
  field["opset"].integer(1);
  const Field files = field["files"];
  for (const auto& member : files.object()) {
    const Field file = files[member];
    manifest.files[member.first] = {file["size"].integer(), file["sha256"].string()};
  }
  manifest.classifier = optional_string(field["classifier"]);
  if (const Field licence = field["licence"]; !licence.is_missing()) licence.string();
  if (const Field provenance = field["provenance"]; !provenance.is_absent()) provenance.object();
  optional_string(field["codes_sha256"]);
  if (manifest.version < kFillsSince) {
    for (Level& level : manifest.levels) set_fills(level);
  }
  check_manifest(manifest, source);
  return manifest;
}

}  // namespace latentloop
