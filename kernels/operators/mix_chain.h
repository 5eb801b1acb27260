// The operators MixChain and MixChainInplace: all blocks of a prior without attention, for one column of a step.
//
//   x [B, C], gated [n, L, B, C], mix_above [n, blocks, 1, C], one weight [C, C] per block -> out [B, C],
//   activated [L, B, C]
//
// Attributes: column, of the step's n columns; bits (see weight_bits). In MixChainInplace, as in priors whose layers'
// ELU overwrites its input, each layer's output is added to the ELU of its input.
#pragma once

#include <array>
#include <stdexcept>
#include <vector>

#include "../dispatch.h"
#include "../kernels.h"
#include "../steps/builder.h"
#include "onnxruntime/runtime.h"
#include "phases.h"
#include "weights/packed_matrices.h"

namespace latentloop {

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
        convs_(runtime, info, inputs(runtime.input_count(info)), kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    const OrtValue *x = runtime_.input(context, 0), *gated = runtime_.input(context, 1);
    const OrtValue* above = runtime_.input(context, 2);
    const Shape xs = runtime_.shape(x), gs = runtime_.shape(gated), as = runtime_.shape(above);
    const auto blocks = static_cast<int64_t>(convs_.size());
    check(xs.size() == 2 && xs[1] == convs_[0].inputs, "x", xs);
    check(gs.size() == 4 && gs[0] > column_ && gs[1] % blocks == 0 && gs[2] == xs[0] && gs[3] == xs[1], "gated", gs);
    check(as.size() == 4 && as[0] > column_ && as[1] == blocks && as[2] == 1 && as[3] == xs[1], "mix_above", as);
    for (size_t b = 0; b < convs_.size(); ++b) check(convs_[b].inputs == xs[1] && convs_[b].outputs == xs[1], "x", xs);
    const int64_t batch = xs[0], channels = xs[1], layers = gs[1] / blocks, block = layers * batch * channels;
    const float* gated_values = runtime_.data(gated) + column_ * gs[1] * batch * channels;
    const float* above_values = runtime_.data(above) + column_ * blocks * channels;
    float* out = runtime_.output(context, 0, xs);
    float* activated = runtime_.output(context, 1, {gs[1], batch, channels});
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory& memory) {
      StepBuilder step(list, memory, static_cast<int>(batch), static_cast<int>(channels));
      const auto start_of = [&](int64_t b) {
        return step.mix_start({gated_values + b * block, activated + b * block, static_cast<int>(layers), Inplace});
      };
      const BlockStart* start = start_of(0);
      step.phase(step.input(runtime_.data(x), start));
      for (int64_t b = 0; b < blocks; ++b) {
        const BlockStart* next = b + 1 < blocks ? start_of(b + 1) : step.result(out);
        Dense conv = convs_[static_cast<size_t>(b)];
        conv.bias = above_values + b * channels;
        step.mix(conv, start, next);
        start = next;
      }
    });
  }

 private:
  static std::vector<PackedMatrices::Inputs> inputs(size_t count) {
    if (count < 4) throw std::invalid_argument("expected a weight per block");
    std::vector<PackedMatrices::Inputs> indices;
    for (size_t index = 3; index < count; ++index) indices.push_back({static_cast<int>(index), -1, false, false});
    return indices;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_;
  PackedMatrices convs_;
  mutable StepRunner runner_;
};

}  // namespace latentloop
