// The operators PriorStep and PriorStepInplace: a whole step of a prior, for its n columns up to their draws.
//
// Attributes: kernel (size of the causal convolutions, k; p = k // 2), columns (n), blocks, layers (per block; L in all),
// heads (of attention; 0: blocks end with a 1 x 1 convolution), stages (of the output stack), labels (0 or 1), filtered
// (0 or 1), bits (see weight_bits). Inplace: for priors whose layers and gated blocks overwrite their input by its ELU.
//
// Inputs, float32 if not marked int64:
//   codes [p, B] int64, residual [p + n - 1, L, B, C], hidden [p - 1, L, B, R] if p > 1, conv1_above [n, L, B, R],
//   conv2_above [n, L, B, 2 C], input_above [n, B, C];
//   without attention mix_above [n, blocks, 1, C];
//   with attention background [n, B, 2], history_mask [S, 1, 1, 1, 1], column [1, 1] int64, and per block keys
//   [S, B, heads, d, W], values [S, B, heads, W, d], row_keys and row_values [W, B, heads d];
//   with labels class_pointwise [B, the sum of 2 width of the gated blocks];
//   uniform [n, B], temperature [B], forced [n, B] int64; if filtered top_k [B] int64, top_p [B], min_p [B];
//   weights: conv1_left [p, L, C, R], conv2_left [p, L, R, 2 C], left_table [p (K + 1), C]; of every block one [C, C], or
//   with attention those of AttentionBlock; of every stage those of OutputStack; logits [C, K] and their bias.
// Outputs: code [n, B] int64, logits [n, B, K], residual_next [n, L, B, C], hidden_next [n, L, B, R], and with attention
//   per block row_keys_next and row_values_next [n, B, heads d].
#pragma once

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../dispatch.h"
#include "../steps/builder.h"
#include "attention_weights.h"
#include "input_reader.h"
#include "packed_matrices.h"
#include "phases.h"

namespace latentloop {

template <bool Inplace>
class PriorStep {
 public:
  static constexpr const char* kName{Inplace ? "PriorStepInplace" : "PriorStep"};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kUndefined};
  static constexpr std::array kOutputs{ort::kUndefined};

  PriorStep(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        form_(runtime, info),
        first_weight_(form_.state_inputs()),
        matrices_(runtime, info, matrix_inputs(runtime.input_count(info)), kernels_.panel) {
    const int64_t bits = weight_bits(runtime, info);
    const auto left = [&](size_t index, bool gated, Shape& shape) {
      const OrtValue* weight = runtime.constant(info, first_weight_ + index);
      shape = runtime.shape(weight);
      check(shape.size() == 4 && shape[0] == form_.reach && shape[1] == form_.layers(), "a causal weight", shape);
      return packed_left(runtime.data(weight), shape, gated, bits, kernels_.panel);
    };
    Shape conv1, conv2;
    conv1_left_ = left(0, false, conv1), conv2_left_ = left(1, true, conv2);
    channels_ = conv1[2], inner_ = conv1[3];
    check(conv2[2] == inner_ && conv2[3] == 2 * channels_, "conv2_left", conv2);
    const Dense logits = matrices_[matrices_.size() - 1];
    codes_ = logits.outputs;
    const Shape table = runtime.shape(runtime.constant(info, first_weight_ + 2));
    check(table == Shape{form_.reach * (codes_ + 1), channels_}, "left_table", table);
    check(logits.inputs == channels_, "logits", {logits.inputs, logits.outputs});
    check_blocks();
  }

  void compute(OrtKernelContext* context) const {
    workspaces_.with([&](StepWorkspace& workspace) {
      Run run(*this, context);
      StepBuilder step(workspace.list, workspace.memory, static_cast<int>(run.batch), static_cast<int>(channels_));
      run.convolutions(step, workspace.memory);
      const BlockStart* start = run.start(step, 0, 0);
      step.phase(run.input(step, 0, start));
      for (int64_t column = 0; column < form_.columns; ++column) {
        for (int64_t b = 0; b < form_.blocks; ++b) start = run.block(step, column, b, start);
        for (int64_t s = 0; s < form_.stages; ++s) step.stage(run.stage(s), start, start);
        step.logits(matrices_[matrices_.size() - 1], start, run.logits + column * run.batch * codes_);
        DrawTask draw = run.draw(column);
        if (column + 1 < form_.columns) {
          start = run.start(step, column + 1, 0);
          draw.next = workspace.memory.copy(run.input(step, column + 1, start));
        }
        step.phase(draw);
      }
      PhaseRun(workspace, kernels_).run(runtime_, context);
    });
  }

 private:
  // The attributes.
  struct Form {
    int64_t kernel, reach, columns, blocks, block_layers, heads, stages;
    bool has_labels, filtered;

    Form(const Runtime& runtime, const OrtKernelInfo* info)
        : kernel(runtime.attribute(info, "kernel")),
          reach(kernel / 2),
          columns(runtime.attribute(info, "columns")),
          blocks(runtime.attribute(info, "blocks")),
          block_layers(runtime.attribute(info, "layers")),
          heads(runtime.attribute(info, "heads")),
          stages(runtime.attribute(info, "stages")),
          has_labels(runtime.attribute(info, "labels") != 0),
          filtered(runtime.attribute(info, "filtered") != 0) {
      if (kernel < 3 || kernel % 2 == 0 || reach > kMostReach)
        throw std::invalid_argument("kernel must be odd, 3 to " + std::to_string(2 * kMostReach + 1));
      if (columns < 1 || columns > 2) throw std::invalid_argument("columns must be 1 or 2");
      if (blocks < 1 || block_layers < 1) throw std::invalid_argument("blocks and layers must be at least 1");
    }

    int64_t layers() const { return blocks * block_layers; }
    bool has_attention() const { return heads > 0; }

    // The number of inputs that are not weights.
    size_t state_inputs() const {
      return static_cast<size_t>(5 + (reach > 1) + (has_attention() ? 3 + 4 * blocks : 1) + has_labels + 3 +
                                 (filtered ? 3 : 0));
    }
  };

  // One run: the inputs and outputs.
  struct Run {
    const PriorStep& op;
    int64_t batch, width{};
    const int64_t *codes, *forced;
    const float *residual, *hidden{}, *conv1_above, *conv2_above, *input_above, *mix_above{}, *uniform, *temperature;
    const float* class_pointwise{};
    const int64_t* top_k{};
    const float *top_p{}, *min_p{}, *left_table;
    AttendTask attend{};  // what all blocks share
    const float* background{};
    struct History {
      const float *keys, *values, *row_keys, *row_values;
      float *row_keys_next, *row_values_next;
    };
    std::vector<History> history;
    int64_t labels_width{};
    int64_t* code;
    float *logits, *residual_next, *hidden_next, *gated{};

    Run(const PriorStep& op, OrtKernelContext* context) : op(op) {
      const Form& f = op.form_;
      const int64_t n = f.columns, p = f.reach, layers = f.layers(), c = op.channels_, r = op.inner_;
      InputReader inputs{op.runtime_, context};
      codes = inputs.read<int64_t>();
      check(inputs.shape.size() == 2 && inputs.shape[0] == p, "codes", inputs.shape);
      batch = inputs.shape[1];
      residual = inputs.read("residual", {p + n - 1, layers, batch, c});
      if (p > 1) hidden = inputs.read("hidden", {p - 1, layers, batch, r});
      conv1_above = inputs.read("conv1_above", {n, layers, batch, r});
      conv2_above = inputs.read("conv2_above", {n, layers, batch, 2 * c});
      input_above = inputs.read("input_above", {n, batch, c});
      if (f.has_attention()) {
        read_history(inputs);
      } else {
        mix_above = inputs.read("mix_above", {n, f.blocks, 1, c});
      }
      if (f.has_labels) {
        class_pointwise = inputs.read();
        labels_width = op.labels_width();
        check(inputs.shape == Shape{batch, labels_width}, "class_pointwise", inputs.shape);
      }
      uniform = inputs.read("uniform", {n, batch});
      temperature = inputs.read("temperature", {batch});
      forced = inputs.read<int64_t>("forced", {n, batch});
      if (f.filtered) {
        top_k = inputs.read<int64_t>("top_k", {batch});
        top_p = inputs.read("top_p", {batch});
        min_p = inputs.read("min_p", {batch});
      }
      left_table = op.runtime_.data(op.runtime_.input(context, op.first_weight_ + 2));
      write(context);
    }

    void read_history(InputReader& inputs) {
      const Form& f = op.form_;
      background = inputs.read("background", {f.columns, batch, 2});
      attend.mask = inputs.read();
      const Shape& shape = inputs.shape;
      check(shape.size() == 5 && shape[0] > 0 && shape == Shape{shape[0], 1, 1, 1, 1}, "history_mask", shape);
      const int64_t entries = shape[0], outputs = op.attention_width_, d = outputs / f.heads;
      const int64_t column = *inputs.read<int64_t>("column", {1, 1});
      for (int64_t b = 0; b < f.blocks; ++b) {
        History h{};
        h.keys = inputs.read();
        check(shape.size() == 5, "keys", shape);
        width = shape[4];
        check(shape == Shape{entries, batch, f.heads, d, width}, "keys", shape);
        h.values = inputs.read("values", {entries, batch, f.heads, width, d});
        h.row_keys = inputs.read("row_keys", {width, batch, outputs});
        h.row_values = inputs.read("row_values", {width, batch, outputs});
        history.push_back(h);
      }
      if (column < 0 || column + f.columns > width)
        throw std::invalid_argument("column is " + std::to_string(column) + ", expected 0 or more and below the width " +
                                    std::to_string(width));
      attend.heads = static_cast<int>(f.heads), attend.head_width = static_cast<int>(d);
      attend.width = static_cast<int>(width), attend.entries = static_cast<int>(entries);
      attend.column = static_cast<int>(column);
    }

    void write(OrtKernelContext* context) {
      const Form& f = op.form_;
      const Runtime& runtime = op.runtime_;
      const int64_t n = f.columns, layers = f.layers();
      code = runtime.output<int64_t>(context, 0, {n, batch});
      logits = runtime.output(context, 1, {n, batch, op.codes_});
      residual_next = runtime.output(context, 2, {n, layers, batch, op.channels_});
      hidden_next = runtime.output(context, 3, {n, layers, batch, op.inner_});
      size_t next = 4;
      for (History& h : history) {
        h.row_keys_next = runtime.output(context, next++, {n, batch, op.attention_width_});
        h.row_values_next = runtime.output(context, next++, {n, batch, op.attention_width_});
      }
    }

    // The convolutions of all layers at all columns.
    void convolutions(StepBuilder& step, StepMemory& memory) {
      const Form& f = op.form_;
      const int64_t n = f.columns, p = f.reach, layers = f.layers();
      gated = memory.floats(static_cast<size_t>(n * layers * batch * op.channels_));
      LeftTask task{};
      task.taps = static_cast<int>(p), task.columns = static_cast<int>(n), task.layers = static_cast<int>(layers);
      task.batch = static_cast<int>(batch);
      LeftTask conv1 = task, conv2 = task;
      conv1.x = residual, conv1.split = static_cast<int>(p + n - 1), conv1.above = conv1_above;
      conv1.weights = op.conv1_left_->view(), conv1.out = hidden_next;
      conv1.inputs = static_cast<int>(op.channels_), conv1.outputs = static_cast<int>(op.inner_);
      conv2.x = hidden, conv2.later = hidden_next, conv2.split = static_cast<int>(p - 1), conv2.above = conv2_above;
      conv2.weights = op.conv2_left_->view(), conv2.out = gated, conv2.gated = true;
      conv2.inputs = static_cast<int>(op.inner_), conv2.outputs = static_cast<int>(2 * op.channels_);
      step.phase(conv1);
      step.phase(conv2);
    }

    BlockLayers layers(int64_t column, int64_t b) const {
      const Form& f = op.form_;
      const int64_t at = (column * f.layers() + b * f.block_layers) * batch * op.channels_;
      return {gated + at, residual_next + at, static_cast<int>(f.block_layers), Inplace};
    }

    // What begins block b, or the output stack after the last block.
    const BlockStart* start(StepBuilder& step, int64_t column, int64_t b) const {
      if (b == op.form_.blocks) return step.output_start();
      return op.form_.has_attention() ? step.attention_start(attention(column, b)) : step.mix_start(layers(column, b));
    }

    // Adds block b; returns what begins after it.
    const BlockStart* block(StepBuilder& step, int64_t column, int64_t b, const BlockStart* begun) const {
      const BlockStart* next = start(step, column, b + 1);
      if (op.form_.has_attention()) {
        step.attention(attention(column, b), next);
      } else {
        Dense conv = op.matrices_[static_cast<size_t>(b)];
        conv.bias = mix_above + (column * op.form_.blocks + b) * op.channels_;
        step.mix(conv, begun, next);
      }
      return next;
    }

    AttentionBlockTask attention(int64_t column, int64_t b) const {
      const int64_t outputs = op.attention_width_;
      const History& h = history[static_cast<size_t>(b)];
      AttentionBlockTask task = attention_weights(op.matrices_, static_cast<size_t>(b) * kAttentionMatrices, Inplace);
      const Dense query_map = task.attend.query_map;
      task.attend = attend;
      task.attend.query_map = query_map;
      task.attend.keys = h.keys, task.attend.values = h.values;
      task.attend.row_keys = h.row_keys, task.attend.row_values = h.row_values;
      task.attend.own_keys = h.row_keys_next, task.attend.own_values = h.row_values_next;
      task.attend.own_columns = static_cast<int>(column);
      task.layers = layers(column, b);
      task.background = background + column * batch * 2;
      task.key_out = h.row_keys_next + column * batch * outputs;
      task.value_out = h.row_values_next + column * batch * outputs;
      if (class_pointwise == nullptr) return task;
      const float* label = class_pointwise + b * op.attention_labels();
      for (GatedBlock* gated : {&task.key, &task.query, &task.result}) {
        gated->label = label, gated->label_stride = static_cast<int>(labels_width);
        label += gated->conv2.outputs;
      }
      return task;
    }

    GatedBlock stage(int64_t s) const {
      const size_t at = op.first_stage() + 2 * static_cast<size_t>(s);
      GatedBlock block{op.matrices_[at], op.matrices_[at + 1], {}, nullptr, static_cast<int>(labels_width), Inplace};
      const int64_t blocks = op.form_.has_attention() ? op.form_.blocks * op.attention_labels() : 0;
      if (class_pointwise) block.label = class_pointwise + blocks + s * 2 * op.channels_;
      return block;
    }

    InputTask input(const StepBuilder& step, int64_t column, const BlockStart* next) const {
      InputTask task = step.input(input_above + column * batch * op.channels_, next);
      task.table = left_table, task.table_codes = static_cast<int>(op.codes_ + 1);
      task.taps = static_cast<int>(op.form_.reach);
      for (int64_t tap = 0; tap < op.form_.reach; ++tap) {
        const int64_t at = column + tap, own = at - op.form_.reach;
        task.codes[tap] = own < 0 ? codes + at * batch : code + own * batch;
      }
      return task;
    }

    DrawTask draw(int64_t column) const {
      DrawTask task{};
      task.logits = logits + column * batch * op.codes_;
      task.uniform = uniform + column * batch, task.temperature = temperature;
      task.forced = forced + column * batch, task.code = code + column * batch;
      task.top_k = top_k, task.top_p = top_p, task.min_p = min_p;
      task.batch = static_cast<int>(batch), task.codes = static_cast<int>(op.codes_);
      return task;
    }
  };

  // The inputs of the matrices: those of the blocks, the stages and the logits.
  std::vector<PackedMatrices::Inputs> matrix_inputs(size_t count) const {
    std::vector<PackedMatrices::Inputs> indices;
    int next = static_cast<int>(first_weight_) + 3;
    for (int64_t b = 0; b < form_.blocks; ++b) {
      if (form_.has_attention()) {
        add_attention_inputs(next, indices);
      } else {
        indices.push_back({next++, -1, false, false});
      }
    }
    for (int64_t s = 0; s < form_.stages; ++s, next += 4) {
      indices.push_back({next, next + 1, false, false});
      indices.push_back({next + 2, next + 3, true, false});
    }
    indices.push_back({next, next + 1, false, false});
    if (count != static_cast<size_t>(next) + 2)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected " + std::to_string(next + 2));
    return indices;
  }

  void check_blocks() {
    const int channels = static_cast<int>(channels_);
    for (int64_t b = 0; b < form_.blocks; ++b) {
      const auto at = static_cast<size_t>(b);
      if (!form_.has_attention()) {
        check(matrices_[at].inputs == channels && matrices_[at].outputs == channels, "a block's weight",
              {matrices_[at].inputs, matrices_[at].outputs});
        continue;
      }
      const AttentionBlockTask task = attention_weights(matrices_, at * kAttentionMatrices, Inplace);
      check_attention(task, channels);
      if (b == 0) attention_width_ = task.key_map.outputs;
      check(attention_width_ == task.key_map.outputs && attention_width_ % form_.heads == 0, "a block's key map",
            {task.key_map.inputs, task.key_map.outputs});
      const AttentionBlockTask first = attention_weights(matrices_, 0, Inplace);
      for (const auto part : {&AttentionBlockTask::key, &AttentionBlockTask::query, &AttentionBlockTask::result})
        check((task.*part).conv1.outputs == (first.*part).conv1.outputs, "a block's conv1",
              {(task.*part).conv1.inputs, (task.*part).conv1.outputs});
    }
    for (int64_t s = 0; s < form_.stages; ++s) {
      const Dense conv1 = matrices_[first_stage() + 2 * static_cast<size_t>(s)],
                  conv2 = matrices_[first_stage() + 2 * static_cast<size_t>(s) + 1];
      check(conv1.inputs == channels && conv2.inputs == conv1.outputs && conv2.outputs == 2 * channels, "a stage",
            {conv1.inputs, conv1.outputs, conv2.inputs, conv2.outputs});
    }
  }

  size_t first_stage() const {
    return static_cast<size_t>(form_.blocks) * (form_.has_attention() ? kAttentionMatrices : 1);
  }

  // Widths of the label terms of one block with attention, and of all gated blocks.
  int64_t attention_labels() const { return 2 * (2 * channels_ + 2) + 2 * (channels_ + 2) + 2 * channels_; }
  int64_t labels_width() const {
    return (form_.has_attention() ? form_.blocks * attention_labels() : 0) + form_.stages * 2 * channels_;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  Form form_;
  size_t first_weight_;
  PackedMatrices matrices_;
  std::shared_ptr<const Panels> conv1_left_, conv2_left_;
  int64_t channels_{}, inner_{}, codes_{}, attention_width_{};
  mutable StepWorkspaces workspaces_;
};

}  // namespace latentloop
