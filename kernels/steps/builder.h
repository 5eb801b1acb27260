// Builds the list of phases of a step, block by block. What begins a block is computed where its input becomes known,
// in the last phase of what precedes it: so a caller first asks for the start of the next block.
#pragma once

#include "list.h"

namespace latentloop {

// A gated residual block of 1 x 1 convolutions: x + a * sigmoid(b), where
// (a, b) = conv2(ELU(conv1(ELU(x)) + auxiliary(ELU(y)))) + label.
// `inplace`: the block's ELU overwrites x, so the result is ELU(x) + a * sigmoid(b).
struct GatedBlock {
  Dense conv1, conv2;  // conv2 is packed as gated
  Dense auxiliary;     // its packed weights are null if the block has no auxiliary input
  const float* label;  // [B, 2 width] rows `label_stride` apart, or null
  int label_stride;
  bool inplace;
};

// The layers of one block at one column.
struct BlockLayers {
  const float* gated;  // [layers, B, C]
  float* activated;    // [layers, B, C]
  int layers;
  bool inplace;
};

// One block with attention at one column; the members are explained at AttendTask. `inplace`: as in BlockStart; the
// key block then reads ELU(x).
// Bytes: about 15 C^2 weights, and the keys and values.
struct AttentionBlockTask {
  BlockLayers layers;
  const float* background;  // [B, 2]
  AttendTask attend;        // all but its query, and the result
  GatedBlock key, query, result;
  Dense key_map, value_map;
  float* key_out;    // [B, heads d]
  float* value_out;  // [B, heads d]
};

class StepBuilder {
 public:
  // Adds to `list`; takes memory for values between tasks from `memory`. Axes: B, C.
  StepBuilder(PhaseList& list, StepMemory& memory, int batch, int channels)
      : list_(list), memory_(memory), batch_(batch), channels_(channels) {}

  // The start of a block with attention: [x, sum, background] and their ELU.
  const BlockStart* attention_start(const AttentionBlockTask& t) {
    const int width = 2 * channels_ + 2;
    if (joined_ == nullptr) joined_ = rows(width), joined_elu_ = rows(width);
    BlockStart start = layers_start(t.layers);
    start.x = joined_, start.x_elu = joined_elu_;
    start.sum = joined_ + channels_, start.sum_elu = joined_elu_ + channels_;
    start.background = t.background;
    start.background_out = joined_ + 2 * channels_, start.background_elu = joined_elu_ + 2 * channels_;
    start.stride = width;
    return memory_.copy(start);
  }

  // A block with attention, of which `attention_start` has been computed. The key's products are in the phases of the
  // query's, which do not need them.
  void attention(const AttentionBlockTask& t, const BlockStart* next) {
    const int width = 2 * channels_ + 2;
    const Rows joined{joined_, joined_elu_, width};
    const Rows sum{joined_ + channels_, joined_elu_ + channels_, width};
    const Rows key{buffer(key_, width), nullptr, width}, query{buffer(query_, channels_ + 2), nullptr, channels_ + 2};
    float* key_hidden = buffer(key_hidden_, t.key.conv1.outputs);
    float* query_hidden = buffer(query_hidden_, t.query.conv1.outputs);
    float* hidden = buffer(hidden_, t.result.conv1.outputs);
    AttendTask attend = t.attend;
    const int attended = attend.heads * attend.head_width;
    attend.query = query.x, attend.query_stride = query.stride, attend.batch = batch_;
    attend.attended_elu = buffer(attended_, attended);
    list_.begin_phase();
    list_.add(conv1(t.key, joined, key_hidden));
    list_.add(conv1(t.query, sum, query_hidden));
    list_.begin_phase();
    list_.add(conv2(t.key, joined, key_hidden, key.x, nullptr));
    list_.add(conv2(t.query, sum, query_hidden, query.x, nullptr));
    list_.begin_phase();
    list_.add(attend);
    list_.add(product(t.key_map, key.x, key.stride, t.key_out, attended));
    list_.add(product(t.value_map, key.x, key.stride, t.value_out, attended));
    list_.begin_phase();
    ProductTask first = conv1(t.result, sum, hidden);
    first.auxiliary = t.result.auxiliary, first.y = attend.attended_elu, first.y_stride = attended;
    list_.add(first);
    list_.begin_phase();
    list_.add(conv2(t.result, sum, hidden, nullptr, next));
  }

  // The start of a block that ends with a 1 x 1 convolution: the sum of its layers. Two neighbouring blocks have their
  // own memory, because one begins while the other is still read.
  const BlockStart* mix_start(const BlockLayers& layers) {
    BlockStart start = layers_start(layers);
    is_second_ = !is_second_;
    start.sum = buffer(mixed_[is_second_], channels_), start.stride = channels_;
    return memory_.copy(start);
  }

  // The 1 x 1 convolution `conv` of the sum; call it before the mix_start() of the block after the next.
  void mix(const Dense& conv, const BlockStart* start, const BlockStart* next) {
    list_.begin_phase();
    ProductTask task = product(conv, start->sum, start->stride, nullptr, 0);
    task.next = next;
    list_.add(task);
  }

  // The start of the output stack, or without one, of the logits.
  const BlockStart* output_start() {
    BlockStart start = layers_start({});
    start.sum = buffer(out_, channels_), start.sum_elu = buffer(out_elu_, channels_), start.stride = channels_;
    return memory_.copy(start);
  }

  // What follows the last block if its result is `out` [B, C].
  const BlockStart* result(float* out) {
    BlockStart start = layers_start({});
    start.sum = out, start.stride = channels_;
    return memory_.copy(start);
  }

  // A stage of the output stack, of which `start`, an output_start(), has been computed; it computes `next`.
  void stage(const GatedBlock& block, const BlockStart* start, const BlockStart* next) {
    const Rows x{start->sum, start->sum_elu, start->stride};
    float* hidden = rows(block.conv1.outputs);
    list_.begin_phase();
    list_.add(conv1(block, x, hidden));
    list_.begin_phase();
    list_.add(conv2(block, x, hidden, nullptr, next));
  }

  // The logits [B, K] from an output_start().
  void logits(const Dense& layer, const BlockStart* start, float* out) {
    list_.begin_phase();
    list_.add(product(layer, start->sum_elu, start->stride, out, layer.outputs));
  }

  // A task that begins a block with x [B, C] itself.
  InputTask input(const float* x, const BlockStart* next) const {
    InputTask task{};
    task.above = x, task.next = next, task.batch = batch_, task.channels = channels_;
    return task;
  }

  // A phase of one task.
  template <typename T>
  void phase(const T& task) {
    list_.begin_phase();
    list_.add(task);
  }

 private:
  // [B, width] values and their ELU; rows `stride` apart.
  struct Rows {
    float *x, *elu;
    int stride;
  };

  float* rows(int width) { return memory_.floats(static_cast<size_t>(batch_) * static_cast<size_t>(width)); }

  // A buffer of this step, which all its blocks use.
  float* buffer(float*& memory, int width) { return memory ? memory : memory = rows(width); }

  BlockStart layers_start(const BlockLayers& layers) const {
    BlockStart start{};
    start.gated = layers.gated, start.activated = layers.activated;
    start.layers = layers.layers, start.inplace = layers.inplace;
    start.batch = batch_, start.channels = channels_;
    return start;
  }

  ProductTask product(const Dense& layer, const float* x, int x_stride, float* out, int out_stride) const {
    ProductTask task{};
    task.layer = layer, task.x = x, task.x_stride = x_stride, task.out = out, task.out_stride = out_stride;
    task.batch = batch_;
    return task;
  }

  ProductTask conv1(const GatedBlock& block, const Rows& x, float* hidden) const {
    ProductTask task = product(block.conv1, x.elu, x.stride, hidden, block.conv1.outputs);
    task.elu = true;
    return task;
  }

  ProductTask conv2(const GatedBlock& block, const Rows& x, const float* hidden, float* out,
                    const BlockStart* next) const {
    ProductTask task = product(block.conv2, hidden, block.conv2.inputs, out, block.conv2.outputs / 2);
    task.gated = true;
    task.label = block.label, task.label_stride = block.label_stride;
    task.base = block.inplace ? x.elu : x.x, task.base_stride = x.stride;
    task.next = next;
    return task;
  }

  PhaseList& list_;
  StepMemory& memory_;
  int batch_, channels_;
  bool is_second_{};
  float *joined_{}, *joined_elu_{}, *key_{}, *query_{}, *key_hidden_{}, *query_hidden_{}, *hidden_{}, *attended_{};
  float *mixed_[2]{}, *out_{}, *out_elu_{};
};

}  // namespace latentloop
