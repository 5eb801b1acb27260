#include "loop.h"

#include <algorithm>
#include <set>

#include "../bundles/views.h"
#include "../draws/drawn_codes.h"
#include "../draws/uniforms.h"
#include "../errors.h"
#include "../onnxruntime/failures.h"

namespace latentloop {

namespace {

void check_names(const Session& session, const char* kind, const std::vector<Binding>& bindings,
                 const std::vector<Tensor>& tensors) {
  std::set<std::string> ours, theirs;
  for (const Binding& binding : bindings) ours.insert(binding.name);
  for (const Tensor& tensor : tensors) theirs.insert(tensor.name);
  std::vector<std::string> differing;
  std::set_symmetric_difference(ours.begin(), ours.end(), theirs.begin(), theirs.end(), std::back_inserter(differing));
  if (!differing.empty())
    throw Error(LL_BAD_BUNDLE,
                text(session.path(), ": ", kind, " of graph and manifest differ: '", differing.front(), "'"));
}

}  // namespace

PriorLoop::PriorLoop(Sessions& sessions, const Level& level, const std::string& precision, int threads, int64_t batch)
    : sessions_(sessions),
      level_(level),
      prior_(*level.prior),
      suffix_(precision == "float32" ? "" : "_" + precision),
      threads_(threads),
      batch_(batch) {
  for (size_t index = 0; index < prior_.buffers.size(); ++index) {
    const StateBuffer& buffer = prior_.buffers[index];
    const auto bytes = static_cast<size_t>(elements(shape_for_batch(buffer.shape, batch)) * element_size(buffer.type));
    arrays_.emplace_back(static_cast<char*>(::operator new(bytes, std::align_val_t{64})));
    fill(index);
  }
  code_rows_ = prior_.buffers[index_of("codes")].shape[0];
}

void PriorLoop::run(const LevelInputs& inputs, const RunOptions& options, const AfterRow& after_row) {
  begin(inputs, options);
  const bool is_filtered = inputs.settings != nullptr && inputs.settings->is_filtered(level_.codebook_size);
  const int64_t steps = level_.width / prior_.columns_per_step;
  Role& row = role("row" + suffix_, level_.height);
  Role& step = role((is_filtered ? "step_filtered" : "step") + suffix_, code_rows_ * steps);
  for (int64_t i = 0; i < level_.height; ++i) {
    write_row_inputs(inputs, i);
    run_call(row, i, i, 0, options);
    for (int64_t s = 0; s < steps; ++s)
      run_call(step, i % code_rows_ * steps + s, i, s * prior_.columns_per_step, options);
    const Row finished = finished_row(i);
    check_drawn(sessions_.bundle().folder(), level_.name, level_.codebook_size, finished.codes, level_.width * batch_);
    after_row(finished);
  }
}

// Resets the rings, writes what is constant during a batch, and runs the condition graph.
void PriorLoop::begin(const LevelInputs& inputs, const RunOptions& options) {
  for (size_t index = 0; index < prior_.buffers.size(); ++index)
    if (prior_.buffers[index].ring) fill(index);
  const LevelSettings neutral = neutral_settings(level_.codebook_size);
  const auto& settings = (inputs.settings == nullptr ? neutral : *inputs.settings).values;
  for (size_t setting = 0; setting < kSettings.size(); ++setting) {
    const char* name = kSettings[setting].name;
    if (index_of(name) == arrays_.size()) continue;  // an earlier release exported the bundle
    if (kSettings[setting].is_integer) {
      std::fill_n(array<int64_t>(name), batch_, static_cast<int64_t>(settings[setting]));
    } else {
      std::fill_n(array<float>(name), batch_, static_cast<float>(settings[setting]));
    }
  }
  if (auto* labels = array<int64_t>("labels")) std::copy_n(inputs.labels, batch_, labels);
  if (auto* upper = array<int64_t>("upper")) {
    const Shape& shape = prior_.buffers[index_of("upper")].shape;
    const int64_t positions = shape[0] * shape[1];
    for (int64_t b = 0; b < batch_; ++b)
      for (int64_t p = 0; p < positions; ++p) upper[p * batch_ + b] = inputs.upper[b * positions + p];
  }
  if (prior_.graphs.count("condition") != 0) run_call(role("condition", 1), 0, 0, 0, options);
}

void PriorLoop::write_row_inputs(const LevelInputs& inputs, int64_t i) {
  const int64_t width = level_.width;
  auto* uniform = array<float>("uniform");
  if (inputs.seeds == nullptr) {
    std::fill_n(uniform, width * batch_, 0.0F);
  } else {
    uniform_row(inputs.seeds, batch_, static_cast<uint32_t>(inputs.level), width, i, uniform);
  }
  auto* forced = array<int64_t>("forced");
  for (int64_t b = 0; b < batch_; ++b)
    for (int64_t j = 0; j < width; ++j) forced[j * batch_ + b] = inputs.forced[(b * level_.height + i) * width + j];
}

// Returns a graph in its role, opened when it is first run, because most runs need only some of the graphs.
PriorLoop::Role& PriorLoop::role(const std::string& name, int64_t calls) {
  Role& role = roles_[name];
  if (role.session) return role;
  role.graph = &prior_.graphs.at(name);
  auto session = sessions_.get(role.graph->file, threads_);
  check_names(*session, "inputs", role.graph->inputs, session->inputs());
  check_names(*session, "outputs", role.graph->outputs, session->outputs());
  role.calls.resize(static_cast<size_t>(calls));
  for (const Binding& binding : role.graph->inputs)
    if (binding.view == View::entries) role.growing.push_back(&binding);
  role.session = std::move(session);
  return role;
}

void PriorLoop::run_call(Role& role, int64_t index, int64_t i, int64_t j, const RunOptions& options) {
  std::optional<Bound>& bound = role.calls[static_cast<size_t>(index)];
  try {
    if (!bound) {
      bound.emplace(Bound{Call{role.session}, i});
      for (const Binding& binding : role.graph->inputs) bound->call.bind_input(binding.name, value(binding, i, j));
      for (const Binding& binding : role.graph->outputs) bound->call.bind_output(binding.name, value(binding, i, j));
    } else if (bound->row != i) {
      for (const Binding* binding : role.growing) bound->call.bind_input(binding->name, value(*binding, i, j));
      bound->row = i;
    }
    bound->call.run(options);
  } catch (...) {
    rethrow_as_bundle_error(text(role.session->path(), " does not fit the manifest"));
  }
}

const OrtValue* PriorLoop::value(const Binding& binding, int64_t i, int64_t j) {
  const StateBuffer& buffer = prior_.buffers[binding.buffer];
  Extent view = extent(binding, buffer, batch_, i, j);
  Value& value = values_[{binding.buffer, view.offset, view.shape}];
  if (!value) {
    const char* memory = arrays_[binding.buffer].get() + view.offset * element_size(buffer.type);
    value = tensor(memory, buffer.type, view.shape);
  }
  return value.get();
}

Row PriorLoop::finished_row(int64_t i) const {
  const StateBuffer& ring = prior_.buffers[index_of("codes")];
  const int64_t first = (i % code_rows_ * ring.shape[1] + ring.padding) * batch_;
  return {i, array<int64_t>("codes") + first, array<float>("logits")};
}

size_t PriorLoop::index_of(const char* name) const {
  const auto& buffers = prior_.buffers;
  const auto named = [name](const StateBuffer& buffer) { return buffer.name == name; };
  return static_cast<size_t>(std::find_if(buffers.begin(), buffers.end(), named) - buffers.begin());
}

template <typename T>
T* PriorLoop::array(const char* name) const {
  const size_t index = index_of(name);
  return index == arrays_.size() ? nullptr : reinterpret_cast<T*>(arrays_[index].get());
}

void PriorLoop::fill(size_t index) { write_initial_values(prior_.buffers[index], batch_, arrays_[index].get()); }

}  // namespace latentloop
