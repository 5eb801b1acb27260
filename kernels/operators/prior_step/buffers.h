// The inputs and outputs of one run of PriorStep.
#pragma once

#include <stdexcept>
#include <string>

#include "../../steps/prior.h"
#include "../input_reader.h"
#include "form.h"

namespace latentloop {

class PriorInputs {
 public:
  // Reads every input but the weights, and the outputs' memory. Throws std::invalid_argument for shapes that do not
  // fit.
  static PriorBuffers read(const PriorForm& form, const PriorModel& model, size_t left_table, const Runtime& runtime,
                           OrtKernelContext* context) {
    PriorInputs inputs{form, model, runtime, context};
    inputs.read_columns();
    if (form.heads > 0) {
      inputs.read_history();
    } else {
      inputs.buffers_.mix_above = inputs.reader_.read("mix_above", {model.columns, model.blocks, 1, model.channels});
    }
    if (form.has_labels)
      inputs.buffers_.label_terms = inputs.reader_.read("class_pointwise", {inputs.batch_, model.labels});
    inputs.read_draw(form.filtered);
    inputs.buffers_.left_table = runtime.data(runtime.input(context, left_table));
    inputs.find_outputs(runtime, context);
    return inputs.buffers_;
  }

 private:
  PriorInputs(const PriorForm& form, const PriorModel& model, const Runtime& runtime, OrtKernelContext* context)
      : form_(form), m_(model), reader_{runtime, context} {}

  void read_columns() {
    const int64_t n = m_.columns, p = m_.reach, layers = m_.layers(), c = m_.channels, r = m_.inner;
    buffers_.codes = reader_.read<int64_t>();
    check(reader_.shape.size() == 2 && reader_.shape[0] == p, "codes", reader_.shape);
    batch_ = reader_.shape[1];
    buffers_.batch = static_cast<int>(batch_);
    buffers_.residual = reader_.read("residual", {p + n - 1, layers, batch_, c});
    if (p > 1) buffers_.hidden = reader_.read("hidden", {p - 1, layers, batch_, r});
    buffers_.conv1_above = reader_.read("conv1_above", {n, layers, batch_, r});
    buffers_.conv2_above = reader_.read("conv2_above", {n, layers, batch_, 2 * c});
    buffers_.input_above = reader_.read("input_above", {n, batch_, c});
  }

  void read_history() {
    buffers_.background = reader_.read("background", {m_.columns, batch_, 2});
    buffers_.history_mask = reader_.read();
    const Shape& shape = reader_.shape;
    check(shape.size() == 5 && shape[0] > 0 && shape == Shape{shape[0], 1, 1, 1, 1}, "history_mask", shape);
    const int64_t entries = shape[0], heads = form_.heads, d = m_.attention[0].attend.head_width;
    const int64_t column = *reader_.read<int64_t>("column", {1, 1});
    int64_t width = 0;
    for (int b = 0; b < m_.blocks; ++b) {
      PriorBuffers::History history{};
      history.keys = reader_.read();
      if (b == 0 && shape.size() == 5) width = shape[4];
      check(shape == Shape{entries, batch_, heads, d, width}, "keys", shape);
      history.values = reader_.read("values", {entries, batch_, heads, width, d});
      history.row_keys = reader_.read("row_keys", {width, batch_, heads * d});
      history.row_values = reader_.read("row_values", {width, batch_, heads * d});
      buffers_.history.push_back(history);
    }
    if (column < 0 || column + m_.columns > width)
      throw std::invalid_argument("column is " + std::to_string(column) + ", expected 0 or more and below the width " +
                                  std::to_string(width));
    buffers_.entries = static_cast<int>(entries), buffers_.width = static_cast<int>(width);
    buffers_.column = static_cast<int>(column);
  }

  void read_draw(bool filtered) {
    buffers_.uniform = reader_.read("uniform", {m_.columns, batch_});
    buffers_.temperature = reader_.read("temperature", {batch_});
    buffers_.forced = reader_.read<int64_t>("forced", {m_.columns, batch_});
    if (!filtered) return;
    buffers_.top_k = reader_.read<int64_t>("top_k", {batch_});
    buffers_.top_p = reader_.read("top_p", {batch_});
    buffers_.min_p = reader_.read("min_p", {batch_});
  }

  void find_outputs(const Runtime& runtime, OrtKernelContext* context) {
    const int64_t n = m_.columns, layers = m_.layers();
    buffers_.code = runtime.output<int64_t>(context, 0, {n, batch_});
    buffers_.logits = runtime.output(context, 1, {n, batch_, m_.codes});
    buffers_.residual_next = runtime.output(context, 2, {n, layers, batch_, m_.channels});
    buffers_.hidden_next = runtime.output(context, 3, {n, layers, batch_, m_.inner});
    size_t next = 4;
    for (PriorBuffers::History& history : buffers_.history) {
      const Shape shape{n, batch_, m_.attention[0].key_map.outputs};
      history.row_keys_next = runtime.output(context, next++, shape);
      history.row_values_next = runtime.output(context, next++, shape);
    }
  }

  const PriorForm& form_;
  const PriorModel& m_;
  InputReader reader_;
  int64_t batch_{};
  PriorBuffers buffers_{};
};

}  // namespace latentloop
