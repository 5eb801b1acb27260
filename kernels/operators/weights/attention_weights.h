// The constant matrices of one block with attention: which inputs they are, and the task they are used in.
#pragma once

#include <vector>

#include "../../steps/builder.h"
#include "packed_matrices.h"

namespace latentloop {

// In the order of the inputs. Each has a bias, except the auxiliary.
enum AttentionMatrix {
  kKey1,
  kKey2,
  kQuery1,
  kQuery2,
  kResult1,
  kAuxiliary,
  kResult2,
  kQueryMap,
  kKeyMap,
  kValueMap,
  kAttentionMatrices
};

// Appends the inputs of the matrices, which begin at input `next`; moves `next` behind them.
inline void add_attention_inputs(int& next, std::vector<PackedMatrices::Inputs>& inputs) {
  for (int matrix = 0; matrix < kAttentionMatrices; ++matrix) {
    const bool has_bias = matrix != kAuxiliary;
    const bool is_gated = matrix == kKey2 || matrix == kQuery2 || matrix == kResult2;
    inputs.push_back({next, has_bias ? next + 1 : -1, is_gated, matrix == kQueryMap});
    next += has_bias ? 2 : 1;
  }
}

// Returns a task with the weights that begin at matrix `first`, without labels.
inline AttentionBlockTask attention_weights(const PackedMatrices& matrices, size_t first, bool inplace) {
  const auto block = [&](AttentionMatrix conv1, AttentionMatrix conv2) {
    return GatedBlock{matrices[first + conv1], matrices[first + conv2], {}, nullptr, 0, inplace};
  };
  AttentionBlockTask task{};
  task.key = block(kKey1, kKey2), task.query = block(kQuery1, kQuery2), task.result = block(kResult1, kResult2);
  task.result.auxiliary = matrices[first + kAuxiliary];
  task.attend.query_map = matrices[first + kQueryMap];
  task.key_map = matrices[first + kKeyMap], task.value_map = matrices[first + kValueMap];
  return task;
}

// Throws std::invalid_argument if the weights of a gated block do not fit each other and its width.
inline void check_gated_block(const GatedBlock& block, int width) {
  check(block.conv1.inputs == width && block.conv2.inputs == block.conv1.outputs && block.conv2.outputs == 2 * width,
        "a gated block", {block.conv1.inputs, block.conv1.outputs, block.conv2.inputs, block.conv2.outputs});
}

// The same for a block with attention, and C `channels`.
inline void check_attention(const AttentionBlockTask& t, int channels) {
  check_gated_block(t.key, 2 * channels + 2);
  check_gated_block(t.query, channels + 2);
  check_gated_block(t.result, channels);
  const Dense &query = t.attend.query_map, &auxiliary = t.result.auxiliary;
  check(query.inputs == channels + 2 && t.key_map.inputs == 2 * channels + 2 &&
            t.value_map.inputs == 2 * channels + 2 && auxiliary.outputs == t.result.conv1.outputs &&
            query.outputs == t.key_map.outputs && t.value_map.outputs == t.key_map.outputs &&
            auxiliary.inputs == t.key_map.outputs,
        "the maps' inputs and the auxiliary's outputs",
        {query.inputs, t.key_map.inputs, t.value_map.inputs, auxiliary.outputs});
}

}  // namespace latentloop
