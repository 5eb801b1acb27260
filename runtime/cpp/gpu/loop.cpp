#include "loop.h"

#include <algorithm>

#include "../draws/uniforms.h"

namespace latentloop {

namespace {

// Writes values of samples [B, H, W] in the order of positions [H, W, B].
void write_by_position(const int64_t* by_sample, int64_t batch, int64_t positions, int64_t* by_position) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t p = 0; p < positions; ++p) by_position[p * batch + b] = by_sample[b * positions + p];
}

bool is_same_view(const Binding& a, const Binding& b) {
  return a.buffer == b.buffer && a.view == b.view && a.back == b.back && a.first == b.first && a.count == b.count;
}

}  // namespace

DeviceLoop::DeviceLoop(DeviceGraphs& graphs, const Level& level, int64_t batch, Staging& staging)
    : device_graphs_(graphs),
      level_(level),
      prior_(*level.prior),
      batch_(batch),
      stream_(staging.stream()),
      buffers_(prior_, batch, staging) {
  const Shape grid{level.height, level.width, batch};
  uniform_ = buffers_.allocate(Type::float32, grid);
  forced_ = buffers_.allocate(Type::int64, grid);
  codes_ = buffers_.allocate(Type::int64, grid);
}

void DeviceLoop::begin(const LevelInputs& inputs, const DeviceTensor* upper, Staging& staging) {
  const bool is_filtered = inputs.settings != nullptr && inputs.settings->is_filtered(level_.codebook_size);
  step_ = is_filtered ? "step_filtered" : "step";
  buffers_.clear_rings();
  send_constants(inputs, staging);
  send_inputs(inputs, staging);
  if (const DeviceTensor* buffer = buffers_.find("upper")) {
    if (upper != nullptr) {
      buffers_.copy(*buffer, *upper);
    } else {
      send_upper(inputs, *buffer, staging);
    }
  }
  if (prior_.graphs.count("condition") != 0) enqueue(prepare("condition", 0, 0));
}

// Sends the settings and the labels.
void DeviceLoop::send_constants(const LevelInputs& inputs, Staging& staging) {
  const LevelSettings neutral = neutral_settings(level_.codebook_size);
  const auto& settings = (inputs.settings == nullptr ? neutral : *inputs.settings).values;
  for (size_t setting = 0; setting < kSettings.size(); ++setting) {
    const DeviceTensor* buffer = buffers_.find(kSettings[setting].name);
    if (buffer == nullptr) continue;  // an earlier release exported the bundle
    if (kSettings[setting].is_integer) {
      auto* values = staging.prepare<int64_t>(*buffer);
      std::fill_n(values, batch_, static_cast<int64_t>(settings[setting]));
      staging.send(*buffer, values);
    } else {
      auto* values = staging.prepare<float>(*buffer);
      std::fill_n(values, batch_, static_cast<float>(settings[setting]));
      staging.send(*buffer, values);
    }
  }
  if (const DeviceTensor* labels = buffers_.find("labels")) staging.copy_in(*labels, inputs.labels);
}

// Sends the random numbers and the codes to keep, of all rows.
void DeviceLoop::send_inputs(const LevelInputs& inputs, Staging& staging) {
  const int64_t width = level_.width, positions = level_.height * width;
  auto* uniform = staging.prepare<float>(uniform_);
  if (inputs.seeds == nullptr) std::fill_n(uniform, positions * batch_, 0.0F);
  for (int64_t i = 0; inputs.seeds != nullptr && i < level_.height; ++i)
    uniform_row(inputs.seeds, batch_, static_cast<uint32_t>(inputs.level), width, i, uniform + i * width * batch_);
  staging.send(uniform_, uniform);
  auto* forced = staging.prepare<int64_t>(forced_);
  write_by_position(inputs.forced, batch_, positions, forced);
  staging.send(forced_, forced);
}

void DeviceLoop::send_upper(const LevelInputs& inputs, const DeviceTensor& upper, Staging& staging) {
  auto* values = staging.prepare<int64_t>(upper);
  write_by_position(inputs.upper, batch_, upper.shape[0] * upper.shape[1], values);
  staging.send(upper, values);
}

void DeviceLoop::enqueue_row(int64_t i) {
  buffers_.copy(buffers_["uniform"], uniform_.row(i));
  buffers_.copy(buffers_["forced"], forced_.row(i));
  const StateBuffer& ring = *std::find_if(prior_.buffers.begin(), prior_.buffers.end(),
                                          [](const StateBuffer& buffer) { return buffer.name == "codes"; });
  const int64_t phase = i % ring.shape[0];
  replay("row", i, [&](std::vector<Run>& runs) { runs.push_back(prepare("row", i, 0)); });
  replay(step_, phase, [&](std::vector<Run>& runs) {
    for (int64_t j = 0; j < level_.width; j += prior_.columns_per_step) runs.push_back(prepare(step_, i, j));
  });
  const auto index = static_cast<size_t>(&ring - prior_.buffers.data());
  const Binding row_of_codes{"", ring.name, index, View::columns, 0, 0, level_.width, {}, {}};
  buffers_.copy(codes_.row(i), buffers_.view(row_of_codes, i, 0));
}

// Prepares a run of a graph at row i and column j.
DeviceLoop::Run DeviceLoop::prepare(const std::string& role, int64_t i, int64_t j) {
  const Graph& graph = prior_.graphs.at(role);
  std::unique_ptr<DeviceGraph>& loaded = graphs_[role];
  if (!loaded) loaded = device_graphs_.load(graph.file, batch_, stream_.handle());
  Run run{loaded.get(), {}, {}, {}};
  std::vector<DeviceTensor> inputs;
  for (const Binding& binding : graph.inputs) {
    const DeviceTensor view = inputs.emplace_back(buffers_.view(binding, i, j));
    DeviceTensor& bound = run.tensors[binding.name] = view;
    if (view.is_aligned()) continue;
    bound = substitute(role, binding.name, view);
    run.copies_before.emplace_back(bound, view);
  }
  for (const Binding& binding : graph.outputs) {
    const DeviceTensor view = buffers_.view(binding, i, j);
    // An output with the view of an input has the same values: the graph passes them on. Otherwise an overlap is real:
    // a step reads a whole row of keys, in which it masks the columns that it writes.
    const bool is_passed_on = std::any_of(graph.inputs.begin(), graph.inputs.end(),
                                          [&](const Binding& input) { return is_same_view(input, binding); });
    const bool overlaps = !is_passed_on && std::any_of(inputs.begin(), inputs.end(),
                                                       [&](const DeviceTensor& input) { return view.overlaps(input); });
    DeviceTensor& bound = run.tensors[binding.name] = view;
    if (view.is_aligned() && !overlaps) continue;
    bound = substitute(role, binding.name, view);
    run.copies_after.emplace_back(view, bound);
  }
  return run;
}

// Returns the tensor that takes the place of a view; it is the same in every run of the graph.
DeviceTensor DeviceLoop::substitute(const std::string& role, const std::string& name, const DeviceTensor& view) {
  const auto key = std::make_pair(role, name);
  const auto found = substitutes_.find(key);
  if (found != substitutes_.end()) return found->second;
  return substitutes_.emplace(key, buffers_.allocate(view.type, view.shape)).first->second;
}

// Replays runs of a role, which `add` prepares, and which are captured on first use.
template <typename Add>
void DeviceLoop::replay(const std::string& role, int64_t key, Add add) {
  std::unique_ptr<cuda::CapturedGraph>& captured = captured_[{role, key}];
  if (!captured) {
    const bool is_first = graphs_.count(role) == 0;
    std::vector<Run> runs;
    add(runs);
    // The first run of a graph sets shapes and allocates, which is not allowed during a capture. Running it twice
    // changes nothing, because no graph reads values that it writes.
    if (is_first) enqueue(runs.front());
    captured = std::make_unique<cuda::CapturedGraph>(stream_, [&] {
      for (const Run& run : runs) enqueue(run);
    });
  }
  captured->launch(stream_.handle());
}

void DeviceLoop::enqueue(const Run& run) const {
  for (const auto& [target, source] : run.copies_before) buffers_.copy(target, source);
  run.graph->enqueue(run.tensors, stream_.handle());
  for (const auto& [target, source] : run.copies_after) buffers_.copy(target, source);
}

}  // namespace latentloop
