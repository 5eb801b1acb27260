// The operators AttentionBlock, AttentionBlockAfter1 and their Inplace variants: one block with attention, for one
// column of a step. After1: for the second of a step's columns, which also attends to the first.
//
// Inputs: x [B, C], gated [n, L, B, C], background [n, B, 2], history_mask [S, 1, 1, 1, 1] (0, or very negative for
// masked entries), keys [S, B, heads, d, W], values [S, B, heads, W, d], row_keys and row_values [W, B, heads d],
// column [1, 1] as float; After1: own_keys and own_values [1, B, heads d]; with labels: the label terms [B, 2 width] of
// key, query and result. Then the weights: conv1, its bias, conv2, its bias of key and of query; conv1, its bias,
// auxiliary, conv2, its bias of result; the maps of query, key and value, each with its bias.
// Outputs: out [B, C], activated [layers, B, C], key and value [B, heads d].
// Attributes: column, of the step's n columns; first_layer and layers of the block; labels (0 or 1); bits (see
// weight_bits). Inplace: for priors whose gated blocks overwrite their input by its ELU.
#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "../dispatch.h"
#include "../steps/builder.h"
#include "input_reader.h"
#include "phases.h"
#include "weights/attention_weights.h"
#include "weights/packed_matrices.h"

namespace latentloop {

template <int OwnColumns, bool Inplace>
class AttentionBlock {
 public:
  static constexpr const char* kName{Inplace
                                         ? (OwnColumns == 0 ? "AttentionBlockInplace" : "AttentionBlockInplaceAfter1")
                                         : (OwnColumns == 0 ? "AttentionBlock" : "AttentionBlockAfter1")};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat};

  AttentionBlock(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        column_(runtime.attribute(info, "column")),
        first_layer_(runtime.attribute(info, "first_layer")),
        layers_(runtime.attribute(info, "layers")),
        has_labels_(runtime.attribute(info, "labels") != 0),
        matrices_(runtime, info, weight_inputs(runtime.input_count(info), has_labels_), kernels_.panel) {
    check_attention(attention_weights(matrices_, 0, Inplace), matrices_[kResult1].inputs);
  }

  void compute(OrtKernelContext* context) const {
    InputReader inputs{runtime_, context};
    AttentionBlockTask task = attention_weights(matrices_, 0, Inplace);
    const float* x = read_column(inputs, task);
    read_history(inputs, task);
    read_row(inputs, task);
    read_labels(inputs, task);
    const int64_t batch = task.attend.batch, channels = matrices_[kResult1].inputs, width = task.key_map.outputs;
    float* out = runtime_.output(context, 0, {batch, channels});
    task.layers.activated = runtime_.output(context, 1, {layers_, batch, channels});
    task.key_out = runtime_.output(context, 2, {batch, width});
    task.value_out = runtime_.output(context, 3, {batch, width});
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory& memory) {
      StepBuilder step(list, memory, static_cast<int>(batch), static_cast<int>(channels));
      step.phase(step.input(x, step.attention_start(task)));
      step.attention(task, step.result(out));
    });
  }

 private:
  // gated and background of this column; returns x.
  const float* read_column(InputReader& inputs, AttentionBlockTask& t) const {
    const Shape& shape = inputs.shape;
    const float* x = inputs.read();
    check(shape.size() == 2 && shape[1] == matrices_[kResult1].inputs, "x", shape);
    const int64_t batch = shape[0], channels = shape[1];
    t.layers.gated = inputs.read();
    check(shape.size() == 4 && shape[0] > column_ && shape[1] >= first_layer_ + layers_ && shape[2] == batch &&
              shape[3] == channels,
          "gated", shape);
    t.layers.gated += (column_ * shape[1] + first_layer_) * batch * channels;
    t.background = inputs.read();
    check(shape.size() == 3 && shape[0] > column_ && shape[1] == batch && shape[2] == 2, "background", shape);
    t.background += column_ * batch * 2;
    t.layers.layers = static_cast<int>(layers_), t.layers.inplace = Inplace, t.attend.batch = static_cast<int>(batch);
    return x;
  }

  // The mask, keys and values of the finished rows.
  void read_history(InputReader& inputs, AttentionBlockTask& task) const {
    AttendTask& t = task.attend;
    const Shape& shape = inputs.shape;
    t.mask = inputs.read();
    check(shape.size() == 5 && shape[0] > 0 && shape == Shape{shape[0], 1, 1, 1, 1}, "history_mask", shape);
    const int64_t entries = shape[0], batch = t.batch;
    t.keys = inputs.read();
    check(shape.size() == 5 && shape[0] == entries && shape[1] == batch, "keys", shape);
    const int64_t heads = shape[2], d = shape[3], width = shape[4];
    check(heads * d == task.key_map.outputs, "keys", shape);
    t.values = inputs.read();
    check(shape == Shape{entries, batch, heads, width, d}, "values", shape);
    t.heads = static_cast<int>(heads), t.head_width = static_cast<int>(d), t.width = static_cast<int>(width);
    t.entries = static_cast<int>(entries);
  }

  // The keys and values of this row's earlier columns.
  void read_row(InputReader& inputs, AttentionBlockTask& task) const {
    AttendTask& t = task.attend;
    const Shape& shape = inputs.shape;
    const int64_t batch = t.batch, outputs = int64_t{t.heads} * t.head_width;
    t.row_keys = inputs.read();
    check(shape == Shape{t.width, batch, outputs}, "row_keys", shape);
    t.row_values = inputs.read();
    check(shape == Shape{t.width, batch, outputs}, "row_values", shape);
    t.column = read_column_number(inputs, t.width);
    if (OwnColumns) {
      t.own_keys = inputs.read();
      check(shape == Shape{OwnColumns, batch, outputs}, "own_keys", shape);
      t.own_values = inputs.read();
      check(shape == Shape{OwnColumns, batch, outputs}, "own_values", shape);
    }
    t.own_columns = OwnColumns;
  }

  static int read_column_number(InputReader& inputs, int width) {
    const float* column = inputs.read();
    check(inputs.shape == Shape{1, 1}, "column", inputs.shape);
    if (!(*column >= 0 && *column < static_cast<float>(width)))
      throw std::invalid_argument("column is " + std::to_string(*column) + ", expected 0 or more and below the width " +
                                  std::to_string(width));
    return static_cast<int>(*column);
  }

  void read_labels(InputReader& inputs, AttentionBlockTask& t) const {
    if (!has_labels_) return;
    for (GatedBlock* block : {&t.key, &t.query, &t.result}) {
      block->label_stride = block->conv2.outputs;
      block->label = inputs.read("label", {t.attend.batch, block->label_stride});
    }
  }

  static std::vector<PackedMatrices::Inputs> weight_inputs(size_t count, bool has_labels) {
    int next = 9 + (OwnColumns ? 2 : 0) + (has_labels ? 3 : 0);
    std::vector<PackedMatrices::Inputs> inputs;
    add_attention_inputs(next, inputs);
    if (count != static_cast<size_t>(next))
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected " + std::to_string(next));
    return inputs;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_, first_layer_, layers_;
  bool has_labels_;
  PackedMatrices matrices_;
  mutable StepRunner runner_;
};

}  // namespace latentloop
