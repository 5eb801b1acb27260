// The output stack of a prior as an operator: a sequence of gated residual blocks of 1 x 1 convolutions. It uses the
// kernel of causal_conv/left.h: a 1 x 1 convolution is one with a single tap.
//
// OutputStack, attributes bits (see weight_bits) and labels (0 or 1)
//   x [B, C], if labels a term [B, 2 C] per stage, per stage conv1 [C, R], bias [R], conv2 [R, 2 C], bias [2 C]
//   -> out [B, C]: per stage x += a * sigmoid(b), (a, b) = conv2(ELU(conv1(ELU(x)))) + label
//
// OutputStackInplace: x = ELU(x) + a * sigmoid(b).
//
// Bytes: 3 C R weights per stage. FLOPs: 2 B times that. Bound: memory bandwidth; the stages depend on each other.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "../dispatch.h"
#include "../kernels.h"
#include "onnxruntime/runtime.h"
#include "phases.h"
#include "weights.h"

namespace latentloop {

template <bool Inplace>
class OutputStack {
 public:
  static constexpr const char* kName{Inplace ? "OutputStackInplace" : "OutputStack"};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat};

  OutputStack(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime), kernels_(best_kernels()), has_labels_(runtime.attribute(info, "labels") != 0) {
    const size_t count = runtime.input_count(info), per_stage = kWeights + (has_labels_ ? 1 : 0);
    if (count <= 1 || (count - 1) % per_stage != 0)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected x and " +
                                  std::to_string(per_stage) + " per stage");
    const size_t stages = (count - 1) / per_stage;
    for (size_t stage = 0, index = count - stages * kWeights; stage < stages; ++stage, index += kWeights)
      stages_.push_back({convolution(info, index, false), convolution(info, index + 2, true)});
    channels_ = stages_[0].conv1.inputs;
    for (const Stage& stage : stages_) {
      const Convolution &conv1 = stage.conv1, &conv2 = stage.conv2;
      check(conv1.inputs == channels_ && conv2.inputs == conv1.outputs && conv2.outputs == 2 * channels_, "a stage",
            {conv1.inputs, conv1.outputs, conv2.inputs, conv2.outputs});
    }
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* x = runtime_.input(context, 0);
    const Shape shape = runtime_.shape(x);
    check(shape.size() == 2 && shape[1] == channels_, "x", shape);
    const auto batch = static_cast<size_t>(shape[0]), values = batch * static_cast<size_t>(channels_);
    float* out = runtime_.output(context, 0, shape);
    std::copy_n(runtime_.data(x), values, out);

    // 1. A task per phase: the ELU of x, then conv1 and conv2 of every stage. The ELU is the kernel without a tap.
    std::vector<float> activated(values), gated(values);
    const LeftTask activation = task(batch, 0, channels_, nullptr, out, activated.data());
    std::vector<std::vector<float>> memory;
    std::vector<LeftTask> tasks{activation};
    for (size_t s = 0; s < stages_.size(); ++s) {
      const Convolution &conv1 = stages_[s].conv1, &conv2 = stages_[s].conv2;
      const float* bias = memory.emplace_back(repeated(conv1.bias, batch)).data();
      float* hidden = memory.emplace_back(batch * static_cast<size_t>(conv1.outputs)).data();
      tasks.push_back(task(batch, channels_, conv1.outputs, &conv1, bias, hidden));
      tasks.back().x = activated.data();
      std::vector<float>& bias_and_label = memory.emplace_back(repeated(conv2.bias, batch));
      if (has_labels_) add_label(context, s, bias_and_label);
      tasks.push_back(task(batch, conv1.outputs, conv2.outputs, &conv2, bias_and_label.data(), gated.data()));
      tasks.back().x = hidden;
    }

    // 2. Run them. After a panel of conv2, add its gated outputs to x and compute the ELU for the next stage.
    std::vector<size_t> items;
    for (const LeftTask& t : tasks) items.push_back(kernels_.left.items(t));
    const auto panel = static_cast<size_t>(kernels_.panel), channels = static_cast<size_t>(channels_);
    Phases(items).run(runtime_, context, [&](size_t phase, size_t item) {
      kernels_.left.run(tasks[phase], item);
      if (!tasks[phase].gated) return;
      const size_t end = std::min(channels, (item + 1) * panel);
      for (size_t b = 0; b < batch; ++b)
        for (size_t c = item * panel, i = b * channels + c; c < end; ++c, ++i)
          out[i] = (Inplace ? activated[i] : out[i]) + gated[i];
      kernels_.left.run(activation, item);
    });
  }

 private:
  static constexpr size_t kWeights{4};  // constant inputs per stage

  struct Convolution {
    std::shared_ptr<const Panels> weights;
    std::vector<float> bias;  // [outputs]
    int64_t inputs, outputs;
    bool gated;
  };

  struct Stage {
    Convolution conv1, conv2;
  };

  Convolution convolution(const OrtKernelInfo* info, size_t index, bool gated) const {
    const OrtValue *weight = runtime_.constant(info, index), *bias = runtime_.constant(info, index + 1);
    const Shape shape = runtime_.shape(weight);
    check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0 && (!gated || shape[1] % 2 == 0), "weight", shape);
    check(runtime_.shape(bias) == Shape{shape[1]}, "bias", runtime_.shape(bias));
    const float* biases = runtime_.data(bias);
    return {packed_left(runtime_.data(weight), {1, 1, shape[0], shape[1]}, gated, weight_bits(runtime_, info),
                        kernels_.panel),
            {biases, biases + shape[1]},
            shape[0],
            shape[1],
            gated};
  }

  // The bias of every sample: [B, outputs].
  static std::vector<float> repeated(const std::vector<float>& bias, size_t batch) {
    std::vector<float> copies;
    for (size_t b = 0; b < batch; ++b) copies.insert(copies.end(), bias.begin(), bias.end());
    return copies;
  }

  // sums [B, 2 C] += the label term of a stage.
  void add_label(OrtKernelContext* context, size_t stage, std::vector<float>& sums) const {
    const OrtValue* label = runtime_.input(context, 1 + stage);
    const Shape shape = runtime_.shape(label);
    const int64_t outputs = 2 * channels_;
    check(shape == Shape{static_cast<int64_t>(sums.size()) / outputs, outputs}, "label", shape);
    const float* term = runtime_.data(label);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += term[i];
  }

  // A task over one column and one layer. `convolution` null: no tap.
  static LeftTask task(size_t batch, int64_t inputs, int64_t outputs, const Convolution* convolution,
                       const float* above, float* out) {
    LeftTask task{};
    task.above = above;
    task.out = out;
    task.columns = task.layers = 1;
    task.batch = static_cast<int>(batch);
    task.inputs = static_cast<int>(inputs);
    task.outputs = static_cast<int>(outputs);
    task.weights.bytes = 4;
    if (convolution == nullptr) return task;
    task.weights = convolution->weights->view();
    task.taps = 1;
    task.gated = convolution->gated;
    return task;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  bool has_labels_;
  std::vector<Stage> stages_;
  int64_t channels_{};
};

}  // namespace latentloop
