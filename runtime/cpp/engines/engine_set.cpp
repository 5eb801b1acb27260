#include "engine_set.h"

#include "../bundles/views.h"
#include "../errors.h"

namespace latentloop {
namespace {

std::vector<CodecTensor> tensors(const std::vector<Binding>& bindings, const Prior& prior) {
  std::vector<CodecTensor> all;
  for (const Binding& binding : bindings) {
    const StateBuffer& buffer = prior.buffers[binding.buffer];
    all.push_back({binding.name, buffer.type, *engine_binding(binding, buffer).shape});
  }
  return all;
}

}  // namespace

std::vector<CodecGraph> engines_of(const EngineSet& set) {
  std::vector<CodecGraph> engines{set.encoder, set.decoder};
  for (const Level& level : set.levels) {
    if (!level.prior) continue;
    for (const auto& [role, graph] : level.prior->graphs) {
      engines.push_back({graph.file, tensors(graph.inputs, *level.prior), tensors(graph.outputs, *level.prior)});
    }
  }
  return engines;
}

std::map<std::string, Type> io_types(const EngineSet& set, const std::string& file) {
  std::map<std::string, Type> types;
  for (const CodecGraph& engine : engines_of(set)) {
    if (engine.file != file) continue;
    for (const auto* side : {&engine.inputs, &engine.outputs}) {
      for (const CodecTensor& tensor : *side) types[tensor.name] = tensor.type;
    }
    break;
  }
  return types;
}

Binding engine_binding(const Binding& binding, const StateBuffer& buffer) {
  Binding fixed = binding;
  if (fixed.view == View::entries) fixed.view = View::all;
  fixed.dtype = kTypeNames[static_cast<size_t>(buffer.type)];
  fixed.shape = extent(fixed, buffer, kBatch, 0, 0).shape;
  return fixed;
}

std::string graph_precision(const std::string& precision) {
  return precision == "float16" || precision == "bfloat16" ? "float32" : precision;
}

std::map<std::string, const Graph*> graphs_at(const Prior& prior, const std::string& precision) {
  std::map<std::string, const Graph*> graphs;
  for (const std::string role : kRoles) {
    const bool is_of_all = role == "condition" || precision == "float32";  // one graph for all precisions
    const auto graph = prior.graphs.find(is_of_all ? role : text(role, "_", precision));
    if (graph != prior.graphs.end()) graphs[role] = &graph->second;
  }
  return graphs;
}

std::map<std::string, std::string> source_digests(const Manifest& manifest, const std::string& precision) {
  std::map<std::string, std::string> digests;
  const auto add = [&](const std::string& file) { digests[file] = manifest.files.at(file).sha256; };
  for (const std::string* file : {&manifest.weights, &manifest.encoder, &manifest.decoder}) add(*file);
  for (const Level& level : manifest.levels) {
    if (!level.prior) continue;
    for (const auto& [role, graph] : graphs_at(*level.prior, graph_precision(precision))) add(graph->file);
  }
  return digests;
}

}  // namespace latentloop
