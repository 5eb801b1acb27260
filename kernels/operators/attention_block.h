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
#include <utility>
#include <vector>

#include "../dispatch.h"
#include "../kernels.h"
#include "onnxruntime/runtime.h"
#include "packed_matrices.h"

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
        matrices_(runtime, info, weight_inputs(runtime.input_count(info), has_labels_), kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    Inputs inputs{runtime_, context};
    AttentionTask task{};
    task.query_map = matrices_[kQueryMap], task.key_map = matrices_[kKeyMap], task.value_map = matrices_[kValueMap];
    read_column(inputs, task);
    read_history(inputs, task);
    read_row(inputs, task);
    add_gated_blocks(inputs, task);
    const int64_t batch = task.batch, channels = task.channels, width = int64_t{task.heads} * task.head_width;
    task.out = runtime_.output(context, 0, {batch, channels});
    task.activated = runtime_.output(context, 1, {layers_, batch, channels});
    task.key_out = runtime_.output(context, 2, {batch, width});
    task.value_out = runtime_.output(context, 3, {batch, width});
    task.inplace = Inplace;
    runtime_.run(context, kernels_.attention, task);
  }

 private:
  enum Matrix { kKey1, kKey2, kQuery1, kQuery2, kResult1, kAuxiliary, kResult2, kQueryMap, kKeyMap, kValueMap };

  // Reads the inputs in their order.
  struct Inputs {
    const Runtime& runtime;
    OrtKernelContext* context;
    size_t next{};
    Shape shape{};  // of the input that was read last

    const float* read() {
      const OrtValue* value = runtime.input(context, next++);
      shape = runtime.shape(value);
      return runtime.data(value);
    }
  };

  // x, gated and background of this column.
  void read_column(Inputs& inputs, AttentionTask& t) const {
    const Shape& shape = inputs.shape;
    t.x = inputs.read();
    check(shape.size() == 2 && shape[1] == matrices_[kResult1].inputs, "x", shape);
    const int64_t batch = shape[0], channels = shape[1];
    t.gated = inputs.read();
    check(shape.size() == 4 && shape[0] > column_ && shape[1] >= first_layer_ + layers_ && shape[2] == batch &&
              shape[3] == channels,
          "gated", shape);
    t.gated += (column_ * shape[1] + first_layer_) * batch * channels;
    t.background = inputs.read();
    check(shape.size() == 3 && shape[0] > column_ && shape[1] == batch && shape[2] == 2, "background", shape);
    t.background += column_ * batch * 2;
    t.layers = static_cast<int>(layers_), t.batch = static_cast<int>(batch), t.channels = static_cast<int>(channels);
  }

  // The mask, keys and values of the finished rows.
  void read_history(Inputs& inputs, AttentionTask& t) const {
    const Shape& shape = inputs.shape;
    t.mask = inputs.read();
    check(shape.size() == 5 && shape[0] > 0 && shape == Shape{shape[0], 1, 1, 1, 1}, "history_mask", shape);
    const int64_t entries = shape[0], batch = t.batch;
    t.keys = inputs.read();
    check(shape.size() == 5 && shape[0] == entries && shape[1] == batch, "keys", shape);
    const int64_t heads = shape[2], d = shape[3], width = shape[4];
    check(heads * d == t.key_map.outputs && heads * d == t.value_map.outputs && heads * d == t.query_map.outputs &&
              heads * d == matrices_[kAuxiliary].inputs,
          "keys", shape);
    t.values = inputs.read();
    check(shape == Shape{entries, batch, heads, width, d}, "values", shape);
    t.heads = static_cast<int>(heads), t.head_width = static_cast<int>(d), t.width = static_cast<int>(width);
    t.entries = static_cast<int>(entries);
  }

  // The keys and values of this row's earlier columns.
  void read_row(Inputs& inputs, AttentionTask& t) const {
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

  static int read_column_number(Inputs& inputs, int width) {
    const float* column = inputs.read();
    check(inputs.shape == Shape{1, 1}, "column", inputs.shape);
    if (!(*column >= 0 && *column < static_cast<float>(width)))
      throw std::invalid_argument("column is " + std::to_string(*column) + ", expected 0 or more and below the width " +
                                  std::to_string(width));
    return static_cast<int>(*column);
  }

  // The gated blocks and their labels.
  void add_gated_blocks(Inputs& inputs, AttentionTask& t) const {
    const int64_t channels = t.channels;
    t.key = gated_block(kKey1, kKey2, 2 * channels + 2);
    t.query = gated_block(kQuery1, kQuery2, channels + 2);
    t.result = gated_block(kResult1, kResult2, channels);
    t.result.auxiliary = matrices_[kAuxiliary];
    check(t.query_map.inputs == channels + 2 && t.key_map.inputs == 2 * channels + 2 &&
              t.value_map.inputs == 2 * channels + 2 && t.result.auxiliary.outputs == t.result.conv1.outputs,
          "the maps' inputs and the auxiliary's outputs",
          {t.query_map.inputs, t.key_map.inputs, t.value_map.inputs, t.result.auxiliary.outputs});
    if (!has_labels_) return;
    for (GatedBlock* block : {&t.key, &t.query, &t.result}) {
      block->label = inputs.read();
      check(inputs.shape == Shape{t.batch, 2 * int64_t{block->conv1.inputs}}, "label", inputs.shape);
    }
  }

  GatedBlock gated_block(Matrix conv1, Matrix conv2, int64_t width) const {
    GatedBlock block{};
    block.conv1 = matrices_[conv1];
    block.conv2 = matrices_[conv2];
    block.inplace = Inplace;
    const Dense &first = block.conv1, &second = block.conv2;
    check(first.inputs == width && second.inputs == first.outputs && second.outputs == 2 * width, "a gated block",
          {first.inputs, first.outputs, second.inputs, second.outputs});
    return block;
  }

  // The (weight, bias) inputs of every Matrix.
  static std::vector<std::pair<int, int>> weight_inputs(size_t count, bool has_labels) {
    constexpr size_t kWeights{19};  // weights and biases
    const size_t first = 9 + (OwnColumns ? 2 : 0) + (has_labels ? 3 : 0);
    if (count != first + kWeights)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected " +
                                  std::to_string(first + kWeights));
    std::vector<std::pair<int, int>> indices;
    for (int next = static_cast<int>(first), matrix = kKey1; matrix <= kValueMap; ++matrix) {
      const bool has_bias = matrix != kAuxiliary;
      indices.emplace_back(next, has_bias ? next + 1 : -1);
      next += has_bias ? 2 : 1;
    }
    return indices;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_, first_layer_, layers_;
  bool has_labels_;
  PackedMatrices matrices_;
};

}  // namespace latentloop
