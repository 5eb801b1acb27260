#include "engine_set_checks.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "../bundles/loop_buffers.h"
#include "../bundles/prior_checks.h"
#include "../draws/settings.h"
#include "../io/bundle_error.h"
#include "../io/file.h"
#include "../io/file_names.h"
#include "../io/quoting.h"
#include "texts.h"

namespace latentloop {
namespace {

using Tensors = std::set<std::tuple<std::string, Type, Shape>>;

Tensors unordered(const std::vector<CodecTensor>& tensors) {
  Tensors all;
  for (const CodecTensor& tensor : tensors) all.emplace(tensor.name, tensor.type, tensor.shape);
  return all;
}

void check_codecs(const EngineSet& set, const Manifest& manifest, const std::string& source) {
  const Shape shape{kBatch, manifest.height, manifest.width, manifest.channels};
  const Tensors images{{"images", Type::uint8, shape}};
  Tensors decoder_outputs = images, codes;
  decoder_outputs.emplace("decoded", Type::float32, shape);
  for (const Level& level : manifest.levels) {
    codes.emplace(level.name, Type::int64, Shape{kBatch, level.height, level.width});
  }
  const auto check = [&](const char* role, const CodecGraph& codec, const Tensors& inputs, const Tensors& outputs) {
    if (unordered(codec.inputs) == inputs && unordered(codec.outputs) == outputs) return;
    throw bundle_error(source, ".", role, ": inputs and outputs are not the bundle's");
  };
  check("encoder", set.encoder, images, codes);
  check("decoder", set.decoder, codes, decoder_outputs);
}

auto fields(const Binding& binding) {
  return std::tie(binding.name, binding.memory, binding.view, binding.back, binding.first, binding.count, binding.dtype,
                  binding.shape);
}

// Whether a level of engines has what it must have in common with the bundle's.
bool is_same(const Level& level, const Level& expected) {
  const auto fields = [](const Level& each) {
    return std::tie(each.name, each.height, each.width, each.codebook_size);
  };
  const auto of_prior = [](const Prior& prior) {
    return std::tie(prior.condition_level, prior.classes, prior.columns_per_step);
  };
  if (fields(level) != fields(expected) || level.prior.has_value() != expected.prior.has_value()) return false;
  return !level.prior || of_prior(*level.prior) == of_prior(*expected.prior);
}

// Whether a buffer of a set is that of the bundle, perhaps with a 16-bit type.
bool is_variant(StateBuffer buffer, const StateBuffer& original) {
  if (buffer.type == Type::float16 || buffer.type == Type::bfloat16) buffer.type = Type::float32;
  return buffer == original;
}

void check_bindings(const std::vector<Binding>& bindings, const std::vector<Binding>& expected, const Prior& prior,
                    const std::string& where) {
  std::set<std::string> bound;
  for (const Binding& binding : bindings) {
    const auto original = std::find_if(expected.rbegin(), expected.rend(),
                                       [&](const Binding& other) { return other.name == binding.name; });
    if (original == expected.rend() || original->memory != binding.memory) {
      throw bundle_error(where, ": ", in_quotes(binding.name), " of ", in_quotes(binding.memory),
                         " is not the bundle's");
    }
    const Binding correct = engine_binding(*original, prior.buffers[binding.buffer]);
    if (fields(binding) != fields(correct)) {
      throw bundle_error(where, ": ", binding_text(binding), ", expected ", binding_text(correct));
    }
    bound.insert(binding.name);
  }
  for (const Binding& binding : expected) {
    if (is_loop_name(binding.memory) && bound.count(binding.name) == 0) {
      throw bundle_error(where, ": ", in_quotes(binding.name), " is missing, which the loop writes or reads");
    }
  }
}

// Compares the prior of a set with that of the bundle, whose `graphs` of the set's precision are listed by role.
void check_engines(const Prior& prior, const Prior& expected, const std::map<std::string, const Graph*>& graphs,
                   const std::string& where) {
  for (const StateBuffer& buffer : prior.buffers) {
    const auto original = std::find_if(expected.buffers.begin(), expected.buffers.end(),
                                       [&](const StateBuffer& other) { return other.name == buffer.name; });
    const bool exists = original != expected.buffers.end();
    if (!exists || !is_variant(buffer, *original)) {
      throw bundle_error(where, ".memories: ", state_buffer_text(buffer), " is not the bundle's ",
                         exists ? state_buffer_text(*original) : "None");
    }
  }
  std::vector<std::string> roles, expected_roles;
  for (const auto& [role, graph] : prior.graphs) roles.push_back(role);
  for (const auto& [role, graph] : graphs) expected_roles.push_back(role);
  if (roles != expected_roles) {
    throw bundle_error(where, ".graphs has ", names_text(roles), ", expected ", names_text(expected_roles));
  }
  for (const std::string role : kRoles) {
    const auto graph = prior.graphs.find(role);
    if (graph == prior.graphs.end()) continue;
    const std::string of_graph = text(where, ".graphs.", role);
    check_bindings(graph->second.inputs, graphs.at(role)->inputs, prior, of_graph + ".inputs");
    check_bindings(graph->second.outputs, graphs.at(role)->outputs, prior, of_graph + ".outputs");
  }
}

// Returns the settings whose state buffers the bundle lacks.
std::set<std::string> absent_settings(const Prior& prior) {
  std::set<std::string> absent;
  for (const Setting& setting : kSettings) absent.insert(setting.name);
  for (const StateBuffer& buffer : prior.buffers) absent.erase(buffer.name);
  return absent;
}

}  // namespace

void check_contents(const EngineSet& set, const Manifest& manifest) {
  const std::string source = path_in(set.folder, kManifest);
  const Shape image{manifest.height, manifest.width, manifest.channels};
  if (set.image != image) {
    throw bundle_error(source, ".image is ", shape_text(set.image), ", expected ", shape_text(image));
  }
  check_codecs(set, manifest, source);
  if (set.levels.size() != manifest.levels.size()) {
    throw bundle_error(source, ".levels has ", set.levels.size(), " levels, expected ", manifest.levels.size());
  }
  for (size_t i = 0; i < set.levels.size(); ++i) {
    const Level &level = set.levels[i], &expected = manifest.levels[i];
    const std::string where = text(source, ".levels[", i, "]");
    if (!is_same(level, expected)) {
      throw bundle_error(where, " is ", level_text(level), ", expected ", level_text(expected));
    }
    if (!level.prior) continue;
    const std::string of_prior = where + ".prior";
    const Level* upper = i > 0 ? &set.levels[i - 1] : nullptr;
    check_prior(level, upper, of_prior, absent_settings(*expected.prior), {kRoles.begin(), kRoles.end()});
    check_engines(*level.prior, *expected.prior, graphs_at(*expected.prior, graph_precision(set.precision)), of_prior);
  }
  for (const CodecGraph& engine : engines_of(set)) {
    if (set.files.count(engine.file) == 0) throw bundle_error(source, ".files does not list ", engine.file);
  }
}

}  // namespace latentloop
