// The manifest of a bundle: its contents, and how a loop runs its graphs (docs/host.md).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace latentloop {

constexpr int64_t kBatch{-1};      // the size "batch" in a shape
constexpr int64_t kOtherName{-2};  // another name as a size, which no state buffer has

using Shape = std::vector<int64_t>;

enum class Type { float32, int64, uint8, float16, bfloat16 };  // the last two only in sets of engines

constexpr std::array<const char*, 5> kTypeNames{"float32", "int64", "uint8", "float16", "bfloat16"};  // by Type
constexpr size_t kBundleTypes{3};  // the first of them: those of a bundle's state buffers

// One array of a loop. A ring keeps the last rows: row i at index i modulo the first size, with `padding` extra columns
// on both sides.
struct StateBuffer {
  std::string name;
  Type type;
  Shape shape;
  int64_t fill;
  bool fill_is_index;  // every element of entry i of the first axis is i
  bool ring;
  int64_t padding;
};

enum class View { all, row, entries, span, columns };

constexpr std::array<const char*, 5> kViewNames{"all", "row", "entries", "span", "columns"};  // by View

// An input or output of a graph, and the view of a state buffer that is bound to it. In a set of engines it has the
// type and the shape of the view, too: both only for comparison, and the shape may have sizes kOtherName.
struct Binding {
  std::string name;
  std::string memory;  // the buffer's name
  size_t buffer;       // its index in Prior::buffers
  View view;
  int64_t back, first, count;
  std::optional<std::string> dtype;
  std::optional<Shape> shape;
};

struct Graph {
  std::string file;
  std::vector<Binding> inputs, outputs;
};

struct Prior {
  std::optional<std::string> condition_level;
  bool classes;
  int64_t columns_per_step;
  std::vector<StateBuffer> buffers;
  std::map<std::string, Graph> graphs;  // by role: "row", "step_filtered", at other precisions "row_int8"
};

struct Level {
  std::string name;
  int64_t height, width, codebook_size;
  std::optional<Prior> prior;
};

struct FileRecord {
  int64_t size;
  std::string sha256;
};

constexpr int64_t kUndrawnSince{6};  // the first version of the manifest with `undrawn_codeword`

constexpr std::array<const char*, 3> kUsages{"checkpoint", "data", "equal"};

struct Manifest {
  int64_t version;
  int64_t height, width, channels;  // of an image
  std::vector<Level> levels;        // from the top down
  std::string encoder, decoder, weights, golden;
  std::optional<std::string> classifier;
  std::vector<std::string> classes, precisions;
  std::map<std::string, FileRecord> files;
  std::optional<std::string> undrawn_codeword;  // one of kUsages; none: the decoder has no codeword for the code -1
};

}  // namespace latentloop
