// The constant weights of a prior's step, packed, and their model.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../steps/prior.h"
#include "../weights/attention_weights.h"
#include "../weights/formats.h"
#include "../weights/packed_matrices.h"
#include "form.h"

namespace latentloop {

class PriorWeights {
 public:
  // The weights begin at input `first`. Throws std::invalid_argument for weights that do not fit each other.
  PriorWeights(const Runtime& runtime, const OrtKernelInfo* info, const PriorForm& form, size_t first, bool inplace,
               int panel)
      : left_table_(first + 2),
        matrices_(runtime, info, matrix_inputs(form, static_cast<int>(first) + 3, runtime.input_count(info)), panel) {
    const int64_t bits = weight_bits(runtime, info);
    const auto pack = [&](size_t index, bool gated, Shape& shape) {
      const OrtValue* weight = runtime.constant(info, first + index);
      shape = runtime.shape(weight);
      check(shape.size() == 4 && shape[0] == form.reach && shape[1] == form.layers(), "a causal weight", shape);
      return packed_left(runtime.data(weight), shape, gated, bits, panel);
    };
    Shape conv1, conv2;
    conv1_left_ = pack(0, false, conv1), conv2_left_ = pack(1, true, conv2);
    check(conv2[2] == conv1[3] && conv2[3] == 2 * conv1[2], "conv2_left", conv2);
    set_model(form, conv1, inplace);
    const Shape table = runtime.shape(runtime.constant(info, left_table_));
    check(table == Shape{form.reach * (model_.codes + 1), model_.channels}, "left_table", table);
    check_model(form);
  }

  const PriorModel& model() const { return model_; }
  size_t left_table() const { return left_table_; }  // its index among the inputs

 private:
  // The matrices of the blocks, the stages of the output stack, and the logits.
  static std::vector<PackedMatrices::Inputs> matrix_inputs(const PriorForm& form, int next, size_t count) {
    std::vector<PackedMatrices::Inputs> inputs;
    for (int64_t b = 0; b < form.blocks; ++b) {
      if (form.heads > 0) {
        add_attention_inputs(next, inputs);
      } else {
        inputs.push_back({next++, -1, false, false});
      }
    }
    for (int64_t s = 0; s < form.stages; ++s, next += 4) {
      inputs.push_back({next, next + 1, false, false});
      inputs.push_back({next + 2, next + 3, true, false});
    }
    inputs.push_back({next, next + 1, false, false});
    if (count != static_cast<size_t>(next) + 2)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected " + std::to_string(next + 2));
    return inputs;
  }

  void set_model(const PriorForm& form, const Shape& conv1, bool inplace) {
    PriorModel& m = model_;
    m.reach = static_cast<int>(form.reach), m.columns = static_cast<int>(form.columns);
    m.blocks = static_cast<int>(form.blocks), m.block_layers = static_cast<int>(form.block_layers);
    m.channels = static_cast<int>(conv1[2]), m.inner = static_cast<int>(conv1[3]), m.inplace = inplace;
    m.conv1_left = conv1_left_->view(), m.conv2_left = conv2_left_->view();
    size_t next = 0;
    for (int b = 0; b < m.blocks; ++b) {
      if (form.heads == 0) {
        m.mixes.push_back(matrices_[next++]);
        continue;
      }
      m.attention.push_back(attention_weights(matrices_, next, inplace));
      m.attention.back().attend.heads = static_cast<int>(form.heads);
      m.attention.back().attend.head_width = m.attention.back().key_map.outputs / static_cast<int>(form.heads);
      next += kAttentionMatrices;
    }
    for (int64_t s = 0; s < form.stages; ++s, next += 2)
      m.stages.push_back({matrices_[next], matrices_[next + 1], {}, nullptr, 0, inplace});
    m.logits = matrices_[next];
    m.codes = m.logits.outputs;
    if (!form.has_labels) return;
    for (const AttentionBlockTask& block : m.attention)
      m.labels += block.key.conv2.outputs + block.query.conv2.outputs + block.result.conv2.outputs;
    for (const GatedBlock& stage : m.stages) m.labels += stage.conv2.outputs;
  }

  void check_model(const PriorForm& form) const {
    const PriorModel& m = model_;
    const int channels = m.channels;
    for (const Dense& mix : m.mixes)
      check(mix.inputs == channels && mix.outputs == channels, "a block's weight", {mix.inputs, mix.outputs});
    for (const AttentionBlockTask& block : m.attention) {
      const AttentionBlockTask& first = m.attention[0];  // all blocks have its sizes
      check_attention(block, channels);
      check(block.key_map.outputs == first.key_map.outputs && block.key_map.outputs % form.heads == 0,
            "a block's key map", {block.key_map.inputs, block.key_map.outputs});
      for (const auto part : {&AttentionBlockTask::key, &AttentionBlockTask::query, &AttentionBlockTask::result})
        check((block.*part).conv1.outputs == (first.*part).conv1.outputs, "a block's conv1",
              {(block.*part).conv1.inputs, (block.*part).conv1.outputs});
    }
    for (const GatedBlock& stage : m.stages) check_gated_block(stage, channels);
    check(m.logits.inputs == channels, "logits", {m.logits.inputs, m.logits.outputs});
  }

  size_t left_table_;
  PackedMatrices matrices_;
  std::shared_ptr<const Panels> conv1_left_, conv2_left_;
  PriorModel model_{};
};

}  // namespace latentloop
