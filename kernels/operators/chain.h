// The sequential part of a step as operators, over the kernels of chain/. All take one of the step's n columns
// (attribute column) out of the inputs that hold all of them, and have the attribute bits (see weight_bits).
// MixChainInplace, AttentionBlockInplace and AttentionBlockInplaceAfter1 are those of priors whose gated blocks
// overwrite their input by its ELU.
//
// MixChain
//   x [B, C], gated [n, L, B, C], mix_above [n, blocks, 1, C], blocks weights [C, C] -> out, entered [L, B, C]
//
// AttentionBlock, AttentionBlockAfter1: see the class
//   -> out, entered [layers, B, C], key, value [B, heads d]
//
// DrawCode
//   x [B, C], weight [C, K], bias [K], uniform [n, B], temperature [B], forced [n, B] -> code [B], logits [B, K]
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "../causal_conv/packing.h"
#include "../dispatch.h"
#include "../kernels.h"
#include "causal.h"
#include "description.h"
#include "runtime.h"
#include "shared.h"

namespace latentloop {

// Constant matrices [I, O] and biases [O] of one operator, packed and shared.
class PackedMatrices {
 public:
  // `inputs`: the (weight, bias) inputs' indices; a bias of -1 is absent.
  PackedMatrices(const Runtime& runtime, const OrtKernelInfo* info, const std::vector<std::pair<int, int>>& inputs,
                 int panel) {
    const int64_t bits = weight_bits(runtime, info);
    for (const auto& [weight, bias] : inputs) {
      const OrtValue* matrix = runtime.constant(info, static_cast<size_t>(weight));
      const Shape shape = runtime.shape(matrix);
      check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, "weight", shape);
      packed_.push_back(packed_left(runtime.data(matrix), {1, 1, shape[0], shape[1]}, false, bits, panel));
      shapes_.push_back(shape);
      biases_.emplace_back();
      if (bias < 0) continue;
      const OrtValue* vector = runtime.constant(info, static_cast<size_t>(bias));
      check(runtime.shape(vector) == Shape{shape[1]}, "bias", runtime.shape(vector));
      biases_.back().assign(runtime.data(vector), runtime.data(vector) + shape[1]);
    }
  }

  Dense operator[](size_t m) const {
    return {packed_[m]->view(), biases_[m].empty() ? nullptr : biases_[m].data(), static_cast<int>(shapes_[m][0]),
            static_cast<int>(shapes_[m][1])};
  }
  size_t size() const { return shapes_.size(); }

 private:
  std::vector<Shape> shapes_;  // [I, O]
  std::vector<std::vector<float>> biases_;
  std::vector<std::shared_ptr<const Panels>> packed_;
};

template <bool Inplace>
class MixChain {
 public:
  static constexpr const char* kName{Inplace ? "MixChainInplace" : "MixChain"};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat, ort::kFloat};

  MixChain(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        column_(runtime.attribute(info, "column")),
        mixes_(runtime, info, inputs(runtime.input_count(info)), kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    const OrtValue *x = runtime_.input(context, 0), *gated = runtime_.input(context, 1);
    const OrtValue* above = runtime_.input(context, 2);
    const Shape xs = runtime_.shape(x), gs = runtime_.shape(gated), as = runtime_.shape(above);
    const auto blocks = static_cast<int64_t>(mixes_.size());
    check(xs.size() == 2 && xs[1] == mixes_[0].inputs, "x", xs);
    check(gs.size() == 4 && gs[0] > column_ && gs[1] % blocks == 0 && gs[2] == xs[0] && gs[3] == xs[1], "gated", gs);
    check(as.size() == 4 && as[0] > column_ && as[1] == blocks && as[2] == 1 && as[3] == xs[1], "mix_above", as);
    std::vector<Dense> mixes;
    for (size_t b = 0; b < mixes_.size(); ++b) {
      mixes.push_back(mixes_[b]);
      check(mixes[b].inputs == xs[1] && mixes[b].outputs == xs[1], "x", xs);
    }
    MixTask task{};
    task.x = runtime_.data(x);
    task.gated = runtime_.data(gated) + column_ * gs[1] * gs[2] * gs[3];
    task.mix_above = runtime_.data(above) + column_ * blocks * xs[1];
    task.mixes = mixes.data();
    task.out = runtime_.output(context, 0, xs);
    task.entered = runtime_.output(context, 1, {gs[1], gs[2], gs[3]});
    task.blocks = static_cast<int>(blocks);
    task.layers = static_cast<int>(gs[1]);
    task.batch = static_cast<int>(xs[0]);
    task.channels = static_cast<int>(xs[1]);
    task.inplace = Inplace;
    runtime_.run(context, kernels_.mix, task);
  }

 private:
  static std::vector<std::pair<int, int>> inputs(size_t count) {
    if (count < 4) throw std::invalid_argument("expected a weight per block");
    std::vector<std::pair<int, int>> found;
    for (size_t index = 3; index < count; ++index) found.emplace_back(static_cast<int>(index), -1);
    return found;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_;
  PackedMatrices mixes_;
};

// Inputs before the weights: x [B, C], gated [n, L, B, C], background [n, B, 2], history_mask [S, 1, 1, 1, 1] (0, or
// very negative for entries that are not seen), keys [S, B, heads, d, W], values [S, B, heads, W, d], row_keys and
// row_values [W, B, heads d], column [1, 1] as float, after one column of the step own_keys and own_values [1, B, heads
// d], with `labels` the key's, query's and result's label terms [B, 2 width]. Weights: key conv1, bias, conv2, bias;
// the same of query; result conv1, bias, auxiliary, conv2, bias; query, key and value maps with their biases.
// Attributes: column, layers and first_layer of the block, labels.
template <int Own, bool Inplace>
class AttentionBlock {
 public:
  static constexpr const char* kName{Inplace ? (Own == 0 ? "AttentionBlockInplace" : "AttentionBlockInplaceAfter1")
                                             : (Own == 0 ? "AttentionBlock" : "AttentionBlockAfter1")};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat};

  AttentionBlock(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        column_(runtime.attribute(info, "column")),
        first_layer_(runtime.attribute(info, "first_layer")),
        layers_(runtime.attribute(info, "layers")),
        labels_(runtime.attribute(info, "labels") != 0),
        matrices_(runtime, info, inputs(runtime.input_count(info), labels_), kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    size_t next = 0;
    Shape shape;
    const auto read = [&] {
      const OrtValue* value = runtime_.input(context, next++);
      shape = runtime_.shape(value);
      return runtime_.data(value);
    };
    AttentionTask t{};
    t.x = read();
    check(shape.size() == 2 && shape[1] == matrices_[kResult1].inputs, "x", shape);
    const int64_t batch = shape[0], channels = shape[1];
    t.gated = read();
    check(shape.size() == 4 && shape[0] > column_ && shape[1] >= first_layer_ + layers_ && shape[2] == batch &&
              shape[3] == channels,
          "gated", shape);
    t.gated += (column_ * shape[1] + first_layer_) * batch * channels;
    t.background = read();
    check(shape.size() == 3 && shape[0] > column_ && shape[1] == batch && shape[2] == 2, "background", shape);
    t.background += column_ * batch * 2;
    t.mask = read();
    check(shape.size() == 5 && shape[0] > 0 && shape == Shape{shape[0], 1, 1, 1, 1}, "history_mask", shape);
    const int64_t entries = shape[0];
    t.keys = read();
    check(shape.size() == 5 && shape[0] == entries && shape[1] == batch, "keys", shape);
    const int64_t heads = shape[2], d = shape[3], width = shape[4];
    t.query_map = matrices_[kQueryMap], t.key_map = matrices_[kKeyMap], t.value_map = matrices_[kValueMap];
    check(heads * d == t.key_map.outputs && heads * d == t.value_map.outputs && heads * d == t.query_map.outputs &&
              heads * d == matrices_[kAuxiliary].inputs,
          "keys", shape);
    t.values = read();
    check(shape == Shape{entries, batch, heads, width, d}, "values", shape);
    t.row_keys = read();
    check(shape == Shape{width, batch, heads * d}, "row_keys", shape);
    t.row_values = read();
    check(shape == Shape{width, batch, heads * d}, "row_values", shape);
    const float* column = read();
    check(shape == Shape{1, 1}, "column", shape);
    if (!(*column >= 0 && *column < static_cast<float>(width)))
      throw std::invalid_argument("column is " + std::to_string(*column) + ", the width " + std::to_string(width));
    if (Own) {
      t.own_keys = read();
      check(shape == Shape{Own, batch, heads * d}, "own_keys", shape);
      t.own_values = read();
      check(shape == Shape{Own, batch, heads * d}, "own_values", shape);
    }
    t.key = block(kKey1, kKey2, 2 * channels + 2);
    t.query = block(kQuery1, kQuery2, channels + 2);
    t.result = block(kResult1, kResult2, channels);
    t.result.auxiliary = matrices_[kAuxiliary];
    check(t.query_map.inputs == channels + 2 && t.key_map.inputs == 2 * channels + 2 &&
              t.value_map.inputs == 2 * channels + 2 && t.result.auxiliary.outputs == t.result.conv1.outputs,
          "the maps' inputs and the auxiliary's outputs",
          {t.query_map.inputs, t.key_map.inputs, t.value_map.inputs, t.result.auxiliary.outputs});
    if (labels_) {
      for (Pointwise* pointwise : {&t.key, &t.query, &t.result}) {
        pointwise->label = read();
        check(shape == Shape{batch, 2 * int64_t{pointwise->conv1.inputs}}, "label", shape);
      }
    }
    t.out = runtime_.output(context, 0, {batch, channels});
    t.entered = runtime_.output(context, 1, {layers_, batch, channels});
    t.key_out = runtime_.output(context, 2, {batch, heads * d});
    t.value_out = runtime_.output(context, 3, {batch, heads * d});
    t.layers = static_cast<int>(layers_), t.batch = static_cast<int>(batch), t.channels = static_cast<int>(channels);
    t.heads = static_cast<int>(heads), t.head_width = static_cast<int>(d), t.width = static_cast<int>(width);
    t.entries = static_cast<int>(entries), t.column = static_cast<int>(*column), t.own = Own;
    t.inplace = Inplace;
    runtime_.run(context, kernels_.attention, t);
  }

 private:
  enum Matrix { kKey1, kKey2, kQuery1, kQuery2, kResult1, kAuxiliary, kResult2, kQueryMap, kKeyMap, kValueMap };

  static std::vector<std::pair<int, int>> inputs(size_t count, bool labels) {
    const int first = 9 + (Own ? 2 : 0) + (labels ? 3 : 0);
    if (count != static_cast<size_t>(first) + 19)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs");
    std::vector<std::pair<int, int>> found;
    for (int next = first, matrix = kKey1; matrix <= kValueMap; ++matrix) {
      const bool biased = matrix != kAuxiliary;
      found.emplace_back(next, biased ? next + 1 : -1);
      next += biased ? 2 : 1;
    }
    return found;
  }

  Pointwise block(Matrix conv1, Matrix conv2, int64_t width) const {
    Pointwise pointwise{};
    pointwise.conv1 = matrices_[conv1];
    pointwise.conv2 = matrices_[conv2];
    pointwise.inplace = Inplace;
    const Dense &first = pointwise.conv1, &second = pointwise.conv2;
    check(first.inputs == width && second.inputs == first.outputs && second.outputs == 2 * width, "a gated block",
          {first.inputs, first.outputs, second.inputs, second.outputs});
    return pointwise;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_, first_layer_, layers_;
  bool labels_;
  PackedMatrices matrices_;
};

class DrawCode {
 public:
  static constexpr const char* kName{"DrawCode"};
  static constexpr bool kVariadic{false};
  static constexpr std::array kInputs{ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat, ort::kInt64};
  static constexpr std::array kOutputs{ort::kInt64, ort::kFloat};

  DrawCode(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        column_(runtime.attribute(info, "column")),
        matrices_(runtime, info, {{1, 2}}, kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    const OrtValue *x = runtime_.input(context, 0), *uniform = runtime_.input(context, 3);
    const OrtValue *temperature = runtime_.input(context, 4), *forced = runtime_.input(context, 5);
    const Shape xs = runtime_.shape(x);
    const Dense logits = matrices_[0];
    check(xs.size() == 2 && xs[1] == logits.inputs, "x", xs);
    for (const OrtValue* drawn : {uniform, forced}) {
      const Shape shape = runtime_.shape(drawn);
      check(shape.size() == 2 && shape[0] > column_ && shape[1] == xs[0], "uniform or forced", shape);
    }
    check(runtime_.shape(temperature) == Shape{xs[0]}, "temperature", runtime_.shape(temperature));
    DrawTask task{};
    task.x = runtime_.data(x);
    task.logits = logits;
    task.uniform = runtime_.data(uniform) + column_ * xs[0];
    task.temperature = runtime_.data(temperature);
    task.forced = runtime_.data<int64_t>(forced) + column_ * xs[0];
    task.code = runtime_.output<int64_t>(context, 0, {xs[0]});
    task.out = runtime_.output(context, 1, {xs[0], logits.outputs});
    task.batch = static_cast<int>(xs[0]);
    runtime_.run(context, kernels_.draw, task);
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_;
  PackedMatrices matrices_;
};

}  // namespace latentloop
