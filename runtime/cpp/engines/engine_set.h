// A set of engines: TensorRT plans of a bundle's graphs for one GPU architecture, TensorRT version and precision.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../bundles/manifest.h"

namespace latentloop {

constexpr std::array<const char*, 2> kFlavours{"tensorrt", "tensorrt_rtx"};
constexpr std::array<const char*, 4> kEnginePrecisions{"float32", "float16", "bfloat16", "int8"};
constexpr std::array<const char*, 4> kRoles{"row", "step", "step_filtered", "condition"};  // of graphs of a prior

// The batch sizes of one optimisation profile; all engines of a set have the same profiles.
struct Profile {
  int64_t minimum, optimum, maximum;
};

// An input or output of an engine; the number of images or samples is kBatch.
struct CodecTensor {
  std::string name;
  Type type;
  Shape shape;
};

// The file of an engine. Inputs and outputs of the encoder and the decoder are `images`, one tensor per level with the
// level's name, and `decoded` of the decoder.
struct CodecGraph {
  std::string file;
  std::vector<CodecTensor> inputs, outputs;
};

// The manifest of a set, except `folder`.
struct EngineSet {
  std::string folder;        // absolute
  std::string flavour;       // one of kFlavours
  std::string library;       // version of the TensorRT library, as its Python module says it: "10.14.1.48"
  std::string architecture;  // "sm90" for compute capability 9.0
  std::string precision;     // one of kEnginePrecisions
  std::vector<Profile> profiles;
  std::map<std::string, std::string> sources;  // SHA-256 of the bundle's files that the engines were built from
  Shape image;                                 // height, width, channels
  std::vector<Level> levels;                   // the graphs of priors by role: "row" at every precision
  CodecGraph encoder, decoder;
  std::map<std::string, FileRecord> files;
};

// Returns all engines of a set with their inputs and outputs: the encoder, the decoder, and those of each level.
std::vector<CodecGraph> engines_of(const EngineSet& set);

// Returns the types of the inputs and outputs of the engine in a file, by name.
std::map<std::string, Type> io_types(const EngineSet& set, const std::string& file);

// Returns an engine's form of a binding: the view "entries" becomes "all", because the shapes of an engine must not
// change from row to row; and the type and the shape are those of the view at the first row and column.
Binding engine_binding(const Binding& binding, const StateBuffer& buffer);

// Returns the precision of the bundle's graphs that engines of this precision are built from.
std::string graph_precision(const std::string& precision);

// Returns a prior's graphs of one precision by role: "row", not "row_int8".
std::map<std::string, const Graph*> graphs_at(const Prior& prior, const std::string& precision);

// Returns the SHA-256 of each file of the bundle that engines of this precision are built from.
std::map<std::string, std::string> source_digests(const Manifest& manifest, const std::string& precision);

}  // namespace latentloop
