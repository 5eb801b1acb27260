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

constexpr int64_t kOldest{3}, kNewest{6};   // versions that are read
constexpr int64_t kMostColumns{1 << 20};    // in a view
constexpr int64_t kLargestFill{INT32_MAX};  // -1 is the smallest
const std::string kBatchName{"batch"};      // the only dynamic size

std::optional<std::string> optional_string(const Field& field) {
  return field.is_absent() ? std::nullopt : std::optional(field.string());
}

// Reads a shape in which only one size is dynamic, the number of samples.
Shape read_shape(const Field& field) {
  Shape shape = read_any_shape(field);
  const auto count = [&shape](int64_t size) { return std::count(shape.begin(), shape.end(), size); };
  if (count(kOtherName) > 0 || count(kBatch) > 1 || shape.size() > kMostAxes) {
    field.fail(text("at most ", kMostAxes, " sizes, of which at most one is 'batch' and the others are integers"));
  }
  return shape;
}

StateBuffer read_buffer(const Field& field, const std::vector<std::string>& types) {
  StateBuffer buffer;
  buffer.name = field["name"].string();
  field["dtype"].string();
  field["shape"].shape();
  const auto fill = field["fill"].integer_or("index", -1, kLargestFill);
  buffer.fill = fill.value_or(0);
  buffer.fill_is_index = !fill;
  buffer.ring = field["ring"].boolean();
  buffer.padding = field["padding"].integer();
  buffer.type = static_cast<Type>(field["dtype"].choice(types));
  buffer.shape = read_shape(field["shape"]);
  return buffer;
}

Binding read_binding(const Field& field, const Indices& buffers) {
  Binding binding;
  binding.name = field["name"].string();
  binding.memory = field["memory"].string();
  const auto buffer = buffers.find(binding.memory);
  binding.buffer = buffer == buffers.end() ? kNoBuffer : buffer->second;
  binding.view = static_cast<View>(field["view"].choice({kViewNames.begin(), kViewNames.end()}));
  binding.back = field["back"].integer();
  binding.first = field["first"].integer(-kMostColumns, kMostColumns);
  binding.count = field["count"].integer(0, kMostColumns);
  binding.dtype = optional_string(field["dtype"]);
  if (!field["shape"].is_absent()) binding.shape = read_any_shape(field["shape"]);
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

Prior read_prior(const Field& field, const std::vector<std::string>& types) {
  Prior prior;
  prior.condition_level = optional_string(field["condition_level"]);
  prior.classes = field["classes"].boolean();
  prior.columns_per_step = field["columns_per_step"].integer(1, 2);
  const Field memories = field["memories"];
  for (size_t i = 0; i < memories.list().size(); ++i) prior.buffers.push_back(read_buffer(memories[i], types));
  Indices indices;
  for (size_t i = 0; i < prior.buffers.size(); ++i) indices[prior.buffers[i].name] = i;
  const Field graphs = field["graphs"];
  for (const auto& member : graphs.object()) prior.graphs[member.first] = read_graph(graphs[member], indices);
  return prior;
}

Level read_level(const Field& field, const std::vector<std::string>& types) {
  Level level;
  level.name = field["name"].string();
  level.height = field["height"].integer(1);
  level.width = field["width"].integer(1);
  level.codebook_size = field["codebook_size"].integer(1);
  if (const Field prior = field["prior"]; !prior.is_absent()) level.prior = read_prior(prior, types);
  return level;
}

}  // namespace

int64_t read_version(const Field& manifest, const std::string& format, int64_t oldest, int64_t newest,
                     const std::string& remedy) {
  manifest["format"].choice({format});
  const Field field = manifest["version"];
  const int64_t version = field.integer();
  if (version < oldest || version > newest) {
    throw bundle_error(field.where(), " is ", version, ", this LatentLoop reads ", oldest, " to ", newest, remedy);
  }
  return version;
}

Shape read_any_shape(const Field& field) {
  Shape shape;
  for (const Json& item : field.shape()) {
    const int64_t* size = std::get_if<int64_t>(&item.value);
    shape.push_back(size != nullptr ? *size : std::get<std::string>(item.value) == kBatchName ? kBatch : kOtherName);
  }
  return shape;
}

Shape read_image(const Field& field) {
  const Shape image = read_any_shape(field);
  if (image.size() != 3 || *std::min_element(image.begin(), image.end()) < 1) field.fail("[height, width, channels]");
  return image;
}

std::vector<Level> read_levels(const Field& field, const std::vector<std::string>& types) {
  std::vector<Level> levels;
  for (size_t i = 0; i < field.list().size(); ++i) levels.push_back(read_level(field[i], types));
  return levels;
}

std::map<std::string, FileRecord> read_files(const Field& field) {
  std::map<std::string, FileRecord> files;
  for (const auto& member : field.object()) {
    const Field file = field[member];
    files[member.first] = {file["size"].integer(), file["sha256"].string()};
  }
  return files;
}

Manifest read_manifest(const Json& json, const std::string& source) {
  const Field field(json, source);
  Manifest manifest;
  manifest.version = read_version(field, "latentloop-bundle", kOldest, kNewest,
                                  ": use a matching release, or export the bundle again");
  const Shape image = read_image(field["image"]);
  manifest.height = image[0];
  manifest.width = image[1];
  manifest.channels = image[2];
  manifest.levels = read_levels(field["levels"], {kTypeNames.begin(), kTypeNames.begin() + kBundleTypes});
  manifest.encoder = field["encoder"].string();
  manifest.decoder = field["decoder"].string();
  manifest.golden = field["golden"].string();
  manifest.weights = field["weights"].string();
  manifest.classes = field["classes"].strings();
  manifest.precisions = field["precisions"].strings();
  field["exporter"].string();
  field["opset"].integer(1);
  manifest.files = read_files(field["files"]);
  manifest.classifier = optional_string(field["classifier"]);
  if (const Field licence = field["licence"]; !licence.is_missing()) licence.string();
  if (const Field provenance = field["provenance"]; !provenance.is_absent()) provenance.object();
  optional_string(field["codes_sha256"]);
  if (const Field usage = field["undrawn_codeword"]; manifest.version >= kUndrawnSince && !usage.is_absent())
    manifest.undrawn_codeword = kUsages[usage.choice({kUsages.begin(), kUsages.end()})];
  if (manifest.version < kFillsSince) {
    for (Level& level : manifest.levels) set_fills(level);
  }
  check_manifest(manifest, source);
  return manifest;
}

}  // namespace latentloop
