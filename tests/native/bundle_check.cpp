// Opens bundles with the C++ reader for tests/embedded_bundles.py. Each line of the standard input is a command and its
// arguments, separated by tabs; the answer is one line, with escapes:
//
//     open FOLDER               "ok", or the status and the text of the error
//     manifest FOLDER           "ok" and the manifest as JSON
//     extents FOLDER BATCH      "ok" and, as JSON, the offset and shape of every binding at some rows and columns
//     keep FOLDER               like open; the bundle stays open
//     check NAME                "ok", or the error if that file of the open bundle has changed
//     show FILE                 "ok" and the JSON value in the file, as messages show it
//     engines FLAVOUR LIBRARY ARCHITECTURE PRECISION
//                               "ok" and, as JSON, the set of engines that is found in the open bundle; it is kept
//     plan FILE                 "ok" and the content of a plan of the set
#include <iostream>
#include <memory>
#include <sstream>

#include "bundles/bundle.h"
#include "bundles/views.h"
#include "engines/finding.h"
#include "engines/plan.h"
#include "errors.h"
#include "io/json.h"

namespace latentloop {

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\' || c == '\n' || c == '\r' || c == '\t') {
      result += {'\\', c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c};
    } else {
      result += c;
    }
  }
  return result;
}

// Texts, numbers, lists and structs as JSON.

std::string json(const std::string& text) {
  std::string result{'"'};
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      const char* digits = "0123456789abcdef";
      result += {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string json(int64_t number) { return std::to_string(number); }
std::string json(size_t number) { return std::to_string(number); }
std::string json(bool value) { return value ? "true" : "false"; }

template <typename Item>
std::string json(const std::optional<Item>& item) {
  return item ? json(*item) : "null";
}

std::string shape_json(const Shape& shape) {
  std::string result;
  for (const int64_t size : shape) result += (result.empty() ? "" : ",") + (size == kBatch ? "\"batch\"" : json(size));
  return "[" + result + "]";
}

std::string members(std::initializer_list<std::pair<const char*, std::string>> fields) {
  std::string result;
  for (const auto& [name, value] : fields)
    result += (result.empty() ? "" : ",") + json(std::string(name)) + ":" + value;
  return "{" + result + "}";
}

template <typename Item>
std::string json(const std::vector<Item>& items) {
  std::string result;
  for (const Item& item : items) result += (result.empty() ? "" : ",") + json(item);
  return "[" + result + "]";
}

template <typename Item>
std::string json(const std::map<std::string, Item>& items) {
  std::string result;
  for (const auto& [name, item] : items) result += (result.empty() ? "" : ",") + json(name) + ":" + json(item);
  return "{" + result + "}";
}

std::string type_json(Type type) { return json(std::string(kTypeNames.at(static_cast<size_t>(type)))); }

std::string json(const StateBuffer& buffer) {
  return members({{"name", json(buffer.name)},
                  {"dtype", type_json(buffer.type)},
                  {"shape", shape_json(buffer.shape)},
                  {"fill", buffer.fill_is_index ? "\"index\"" : json(buffer.fill)},
                  {"ring", json(buffer.ring)},
                  {"padding", json(buffer.padding)}});
}

std::string json(const Binding& binding) {
  return members({{"name", json(binding.name)},
                  {"memory", json(binding.memory)},
                  {"buffer", json(binding.buffer)},
                  {"view", json(std::string(kViewNames.at(static_cast<size_t>(binding.view))))},
                  {"back", json(binding.back)},
                  {"first", json(binding.first)},
                  {"count", json(binding.count)},
                  {"dtype", json(binding.dtype)},
                  {"shape", binding.shape ? shape_json(*binding.shape) : "null"}});
}

std::string json(const Graph& graph) {
  return members({{"file", json(graph.file)}, {"inputs", json(graph.inputs)}, {"outputs", json(graph.outputs)}});
}

std::string json(const Prior& prior) {
  return members({{"condition_level", json(prior.condition_level)},
                  {"classes", json(prior.classes)},
                  {"columns_per_step", json(prior.columns_per_step)},
                  {"memories", json(prior.buffers)},
                  {"graphs", json(prior.graphs)}});
}

std::string json(const Level& level) {
  return members({{"name", json(level.name)},
                  {"height", json(level.height)},
                  {"width", json(level.width)},
                  {"codebook_size", json(level.codebook_size)},
                  {"prior", json(level.prior)}});
}

std::string json(const FileRecord& record) {
  return members({{"size", json(record.size)}, {"sha256", json(record.sha256)}});
}

std::string json(const Manifest& manifest) {
  return members({{"version", json(manifest.version)},
                  {"image", json(std::vector<int64_t>{manifest.height, manifest.width, manifest.channels})},
                  {"levels", json(manifest.levels)},
                  {"encoder", json(manifest.encoder)},
                  {"decoder", json(manifest.decoder)},
                  {"golden", json(manifest.golden)},
                  {"weights", json(manifest.weights)},
                  {"classifier", json(manifest.classifier)},
                  {"classes", json(manifest.classes)},
                  {"precisions", json(manifest.precisions)},
                  {"files", json(manifest.files)},
                  {"undrawn_codeword", json(manifest.undrawn_codeword)}});
}

std::string json(const Profile& profile) {
  return members(
      {{"minimum", json(profile.minimum)}, {"optimum", json(profile.optimum)}, {"maximum", json(profile.maximum)}});
}

std::string json(const CodecTensor& tensor) {
  return members({{"name", json(tensor.name)}, {"dtype", type_json(tensor.type)}, {"shape", shape_json(tensor.shape)}});
}

std::string json(const CodecGraph& graph) {
  return members({{"file", json(graph.file)}, {"inputs", json(graph.inputs)}, {"outputs", json(graph.outputs)}});
}

// `engines` and `types` are what the functions of these names return.
std::string json(const EngineSet& set) {
  std::map<std::string, std::map<std::string, std::string>> types;
  for (const auto& [file, record] : set.files) {
    for (const auto& [name, type] : io_types(set, file)) types[file][name] = kTypeNames.at(static_cast<size_t>(type));
  }
  return members({{"folder", json(set.folder)},
                  {"flavour", json(set.flavour)},
                  {"library", json(set.library)},
                  {"architecture", json(set.architecture)},
                  {"precision", json(set.precision)},
                  {"profiles", json(set.profiles)},
                  {"sources", json(set.sources)},
                  {"image", json(set.image)},
                  {"levels", json(set.levels)},
                  {"encoder", json(set.encoder)},
                  {"decoder", json(set.decoder)},
                  {"files", json(set.files)},
                  {"engines", json(engines_of(set))},
                  {"types", json(types)}});
}

// Returns [offset, element size, shape] of each binding, in the order of levels, graphs by name, rows and columns.
std::string extents(const Manifest& manifest, int64_t batch) {
  std::string result;
  for (const Level& level : manifest.levels) {
    if (!level.prior) continue;
    for (const auto& [name, graph] : level.prior->graphs) {
      for (int64_t i = 0; i < level.height; ++i) {
        for (int64_t j = 0; j < level.width; j += level.prior->columns_per_step) {
          for (const auto* bindings : {&graph.inputs, &graph.outputs}) {
            for (const Binding& binding : *bindings) {
              const StateBuffer& buffer = level.prior->buffers.at(binding.buffer);
              const Extent part = extent(binding, buffer, batch, i, j);
              if (part.offset + elements(part.shape) > elements(shape_for_batch(buffer.shape, batch))) {
                throw std::runtime_error("a view is outside its buffer: " + binding.name);
              }
              result += (result.empty() ? "[" : ",[") + json(part.offset) + "," + json(element_size(buffer.type)) +
                        "," + shape_json(part.shape) + "]";
            }
          }
        }
      }
    }
  }
  return "[" + result + "]";
}

std::string answer(const std::vector<std::string>& words) {
  static std::unique_ptr<Bundle> kept;
  static EngineSet engines;
  static std::unique_ptr<Plans> plans;
  const std::string &command = words.at(0), &argument = words.at(1);
  if (command == "check") {
    kept->check_unchanged({argument});
  } else if (command == "engines") {
    plans.reset();
    engines = find_engines(*kept, {argument, words.at(2), words.at(3), words.at(4)});
    plans = std::make_unique<Plans>(engines);
    return "ok\t" + escaped(json(engines));
  } else if (command == "plan") {
    const std::vector<char> plan = plans->read(argument);
    return "ok\t" + escaped({plan.begin(), plan.end()});
  } else if (command == "show") {
    return "ok\t" + escaped(short_text(read_json(argument, "missing")));
  } else if (command == "keep") {
    kept = std::make_unique<Bundle>(argument);
  } else {
    const Bundle bundle(argument);
    if (bundle.folder()[0] != '/') throw std::runtime_error("the folder is not absolute");
    if (command == "manifest") return "ok\t" + escaped(json(bundle.manifest()));
    if (command == "extents") return "ok\t" + extents(bundle.manifest(), std::stoll(words.at(2)));
  }
  return "ok";
}

}  // namespace latentloop

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line, word; std::getline(std::cin, line);) {
    std::vector<std::string> words;
    for (std::istringstream stream(line); std::getline(stream, word, '\t');) words.push_back(word);
    words.resize(std::max<size_t>(words.size(), 2));
    try {
      std::cout << latentloop::answer(words) << std::endl;
    } catch (const latentloop::Error& error) {
      std::cout << error.status() << '\t' << latentloop::escaped(error.what()) << std::endl;
    }
  }
}
