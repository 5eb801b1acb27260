// The output stack of a prior as an operator: a sequence of gated residual blocks of 1 x 1 convolutions.
//
// OutputStack, attributes bits (see weight_bits) and labels (0 or 1)
//   x [B, C], if labels a term [B, 2 C] per stage, per stage conv1 [C, R], bias [R], conv2 [R, 2 C], bias [2 C]
//   -> out [B, C]: per stage x += a * sigmoid(b), (a, b) = conv2(ELU(conv1(ELU(x)))) + label
//
// OutputStackInplace: x = ELU(x) + a * sigmoid(b).
//
// Bytes: 3 C R weights per stage. FLOPs: 2 B times that. Bound: memory bandwidth; the stages depend on each other.
#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "../dispatch.h"
#include "../steps/builder.h"
#include "onnxruntime/runtime.h"
#include "phases.h"
#include "weights/attention_weights.h"

namespace latentloop {

template <bool Inplace>
class OutputStack {
 public:
  static constexpr const char* kName{Inplace ? "OutputStackInplace" : "OutputStack"};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat};

  OutputStack(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        has_labels_(runtime.attribute(info, "labels") != 0),
        matrices_(runtime, info, weight_inputs(runtime.input_count(info), has_labels_), kernels_.panel),
        stages_(matrices_.size() / 2),
        channels_(matrices_[0].inputs) {
    for (size_t s = 0; s < stages_; ++s) check_gated_block(stage(s), channels_);
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* x = runtime_.input(context, 0);
    const Shape shape = runtime_.shape(x);
    check(shape.size() == 2 && shape[1] == channels_, "x", shape);
    float* out = runtime_.output(context, 0, shape);
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory& memory) {
      StepBuilder step(list, memory, static_cast<int>(shape[0]), channels_);
      const BlockStart* start = step.output_start();
      step.phase(step.input(runtime_.data(x), start));
      for (size_t s = 0; s < stages_; ++s) {
        GatedBlock block = stage(s);
        if (has_labels_) block.label = label(context, s, shape[0]);
        step.stage(block, start, s + 1 < stages_ ? start : step.result(out));
      }
    });
  }

 private:
  GatedBlock stage(size_t s) const {
    return {matrices_[2 * s], matrices_[2 * s + 1], {}, nullptr, 2 * channels_, Inplace};
  }

  const float* label(OrtKernelContext* context, size_t stage, int64_t batch) const {
    const OrtValue* label = runtime_.input(context, 1 + stage);
    const Shape shape = runtime_.shape(label);
    check(shape == Shape{batch, 2 * int64_t{channels_}}, "label", shape);
    return runtime_.data(label);
  }

  // conv1 and conv2 of every stage.
  static std::vector<PackedMatrices::Inputs> weight_inputs(size_t count, bool has_labels) {
    constexpr size_t kWeights{4};  // weights and biases of a stage
    const size_t per_stage = kWeights + (has_labels ? 1 : 0);
    if (count <= 1 || (count - 1) % per_stage != 0)
      throw std::invalid_argument("found " + std::to_string(count) + " inputs, expected x and " +
                                  std::to_string(per_stage) + " per stage");
    std::vector<PackedMatrices::Inputs> indices;
    for (size_t index = 1 + (count - 1) / per_stage * (per_stage - kWeights); index < count; index += 2) {
      const int weight = static_cast<int>(index);
      indices.push_back({weight, weight + 1, indices.size() % 2 == 1, false});
    }
    return indices;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  bool has_labels_;
  PackedMatrices matrices_;
  size_t stages_;
  int channels_;
  mutable StepRunner runner_;
};

}  // namespace latentloop
