#include "prior_checks.h"

#include <algorithm>
#include <map>

#include "../io/bundle_error.h"
#include "../io/quoting.h"
#include "loop_buffers.h"

namespace latentloop {
namespace {

using Buffers = std::map<std::string, const StateBuffer*>;
__extension__ using Wide = __int128;

constexpr int64_t kLargestState{1 << 28};  // values in the state buffers of one prior for one sample
constexpr size_t kMostSizes{10};           // of a shape in a message
constexpr Wide kMostCounted{Wide{1} << 120};

std::string wide_text(Wide number) {
  std::string digits;
  for (; number > 0; number /= 10)
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(number % 10)));
  return digits;
}

// Returns the number of values of a buffer for one sample, or kMostCounted if there are more.
Wide values_of(const StateBuffer& buffer) {
  Wide values = 1;
  for (const int64_t size : buffer.shape) {
    if (size == kBatch) continue;
    values = values > kMostCounted / size ? kMostCounted : values * size;
  }
  return values;
}

std::string buffer_text(const StateBuffer& buffer) {
  return text(buffer.ring ? "a ring of " : "", kTypeNames[static_cast<size_t>(buffer.type)], " ",
              shape_text(buffer.shape), " filled with ", fill_text(buffer),
              buffer.padding > 0 ? text(", padded by ", buffer.padding) : "");
}

// Checks the initial value of each buffer.
void check_fills(const Prior& prior, const std::string& where) {
  for (size_t i = 0; i < prior.buffers.size(); ++i) {
    const StateBuffer& buffer = prior.buffers[i];
    const char* expected = nullptr;
    if (buffer.fill_is_index) {
      const bool has_entries = !buffer.shape.empty() && buffer.shape[0] != kBatch;
      if (buffer.type != Type::int64 || buffer.ring || !has_entries) {
        expected = "an integer, except for int64 with a fixed first axis";
      }
    } else if (buffer.type == Type::uint8 && (buffer.fill < 0 || buffer.fill > 255)) {
      expected = "an integer from 0 to 255";
    }
    if (expected != nullptr) {
      throw bundle_error(where, "[", i, "].fill is ", fill_text(buffer), ", expected ", expected);
    }
  }
}

// Checks the buffers that the loop itself reads and writes.
void check_loop_buffers(const Level& level, const Level* upper, const Buffers& buffers, const std::string& where,
                        const std::set<std::string>& absent) {
  const Prior& prior = *level.prior;
  std::optional<std::array<int64_t, 2>> grid;
  if (prior.condition_level && upper != nullptr) grid = {upper->height, upper->width};
  std::vector<StateBuffer> expected = loop_buffers(level, grid, prior.classes);
  if (!grid && buffers.count("upper") > 0) throw bundle_error(where, " has 'upper', but condition_level is null");
  if (!prior.classes && buffers.count("labels") > 0) throw bundle_error(where, " has 'labels', but classes is false");
  const auto codes = buffers.find("codes");
  if (codes == buffers.end()) throw bundle_error(where, ": 'codes' is missing");
  const StateBuffer& ring = *codes->second;
  Shape shape{level.width + 2 * ring.padding, kBatch};
  if (!ring.shape.empty()) shape.insert(shape.begin(), ring.shape[0]);
  expected.insert(expected.begin(),
                  {"codes", Type::int64, std::move(shape), level.codebook_size, false, true, ring.padding});
  for (const StateBuffer& buffer : expected) {
    const auto found = buffers.find(buffer.name);
    if (found == buffers.end()) {
      if (absent.count(buffer.name) > 0) continue;
      throw bundle_error(where, ": ", in_quotes(buffer.name), " is missing");
    }
    if (!(*found->second == buffer)) {
      throw bundle_error(where, ": ", in_quotes(buffer.name), " is ", buffer_text(*found->second), ", expected ",
                         buffer_text(buffer));
    }
  }
}

void check_size(const Prior& prior, const std::string& where) {
  Wide values = 0;
  for (const StateBuffer& buffer : prior.buffers) values = std::min(values + values_of(buffer), kMostCounted);
  if (values <= kLargestState) return;
  const std::string count = values < kMostCounted ? wide_text(values) : "more than 10^36";
  throw bundle_error(where, " hold ", count, " values for one sample, expected at most ", kLargestState);
}

void check_rings(int64_t width, const Prior& prior, const StateBuffer& codes, const std::string& where) {
  for (const StateBuffer& ring : prior.buffers) {
    const int64_t columns = width + 2 * ring.padding;
    if (ring.ring && (ring.shape.size() < 2 || ring.shape[1] != columns || ring.shape[0] == kBatch)) {
      throw bundle_error(where, ": the ring ", in_quotes(ring.name), " is ", shape_text(ring.shape),
                         ", expected [rows, ", columns, ", ...]");
    }
  }
  const int64_t rows = codes.shape[0];
  for (const StateBuffer& ring : prior.buffers) {
    if (ring.ring && rows % ring.shape[0] != 0) {  // a loop binds all rings by the row modulo the rows of 'codes'
      throw bundle_error(where, ": the ring ", in_quotes(ring.name), " has ", ring.shape[0],
                         " rows, expected a divisor of the ", rows, " of 'codes'");
    }
  }
}

// Checks that the buffer exists and that the view is inside it at every row and column. Inputs and outputs of the name
// of a buffer that the loop writes or reads must be bound to that buffer.
void check_binding(const Binding& binding, const Level& level, const std::string& where) {
  const auto fail = [&](const auto&... parts) {
    throw bundle_error(where, ": binding ", in_quotes(binding.name), parts...);
  };
  const Prior& prior = *level.prior;
  if (binding.buffer == kNoBuffer) {
    fail(" names the memory ", in_quotes(binding.memory), ", which does not exist");
  }
  const StateBuffer& buffer = prior.buffers[binding.buffer];
  if (is_loop_name(binding.name) && binding.memory != binding.name) {
    fail(" names the memory ", in_quotes(binding.memory), ", expected ", in_quotes(binding.name));
  }
  const char* view = kViewNames[static_cast<size_t>(binding.view)];
  const bool is_span = binding.view == View::span, is_columns = binding.view == View::columns;
  if (is_span && !buffer.ring) fail(" has the view span, but ", in_quotes(buffer.name), " is not a ring");
  const int64_t size = is_columns ? level.width : level.height;
  const bool has_size = !is_span && binding.view != View::all && !(is_columns && buffer.ring);
  if (has_size && (buffer.shape.empty() || buffer.shape[0] != size)) {
    fail(" has the view ", view, ", but ", in_quotes(buffer.name), " is ", shape_text(buffer.shape), ", expected [",
         size, ", ...]");
  }
  if (!is_span && !is_columns) {
    if (binding.back != 0 || binding.first != 0 || binding.count != 0) {
      fail(" has the view ", view, ", for which back, first and count must be 0; they are ", binding.back, ", ",
           binding.first, " and ", binding.count);
    }
    return;
  }
  const int64_t last_step = is_columns ? level.width - prior.columns_per_step : 0;
  const int64_t padding = buffer.ring ? buffer.padding : 0;
  const int64_t end = last_step + binding.first + binding.count;
  if (binding.count < 1 || binding.first < -padding || end > level.width + padding) {
    fail(": first is ", binding.first, " and count ", binding.count, ", which is not inside ", in_quotes(buffer.name),
         " with ", level.width, " columns and a padding of ", padding);
  }
}

}  // namespace

void check_prior(const Level& level, const Level* upper, const std::string& where, const std::set<std::string>& absent,
                 const std::vector<std::string>& roles) {
  const Prior& prior = *level.prior;
  if (level.width % prior.columns_per_step != 0) {
    throw bundle_error(where, ".columns_per_step is ", prior.columns_per_step, ", which does not divide ", level.width,
                       " columns");
  }
  const std::string memories = where + ".memories";
  check_fills(prior, memories);
  std::vector<std::string> names;
  Buffers buffers;
  for (const StateBuffer& buffer : prior.buffers) {
    names.push_back(buffer.name);
    buffers[buffer.name] = &buffer;
  }
  check_distinct(memories, names);
  check_loop_buffers(level, upper, buffers, memories, absent);
  check_size(prior, memories);
  check_rings(level.width, prior, *buffers["codes"], memories);
  for (const std::string& role : roles) {
    const auto graph = prior.graphs.find(role);
    if (graph == prior.graphs.end()) continue;
    for (const auto* bindings : {&graph->second.inputs, &graph->second.outputs}) {
      for (const Binding& binding : *bindings) check_binding(binding, level, where + ".graphs." + role);
    }
  }
}

void check_distinct(const std::string& where, const std::vector<std::string>& names) {
  std::set<std::string> earlier;
  for (const std::string& name : names) {
    if (!earlier.insert(name).second) throw bundle_error(where, ": the name ", in_quotes(name), " occurs twice");
  }
}

std::vector<std::string> required_graphs(const std::vector<std::string>& precisions) {
  std::vector<std::string> names;
  for (const std::string& precision : precisions) {
    for (const char* role : {"row", "step", "step_filtered"}) {
      names.push_back(precision == "float32" ? role : text(role, "_", precision));
    }
  }
  return names;
}

std::vector<std::string> known_graphs(const std::vector<std::string>& precisions) {
  std::vector<std::string> names = required_graphs(precisions);
  names.insert(names.begin(), "condition");
  return names;
}

bool operator==(const StateBuffer& a, const StateBuffer& b) {
  return a.name == b.name && a.type == b.type && a.shape == b.shape && a.fill == b.fill &&
         a.fill_is_index == b.fill_is_index && a.ring == b.ring && a.padding == b.padding;
}

std::string fill_text(const StateBuffer& buffer) { return buffer.fill_is_index ? "'index'" : text(buffer.fill); }

std::string shape_text(const Shape& shape) {
  std::string sizes = "[";
  for (size_t i = 0; i < shape.size() && i <= kMostSizes; ++i) {
    sizes += i > 0 ? ", " : "";
    sizes += i == kMostSizes ? "..." : shape[i] == kBatch ? "'batch'" : text(shape[i]);
  }
  return sizes + "]";
}

}  // namespace latentloop
