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
#include <utility>
#include <vector>

#include "../dispatch.h"
#include "../kernels.h"
#include "onnxruntime/runtime.h"
#include "packed_matrices.h"

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
    std::vector<Dense> convs;
    for (size_t b = 0; b < convs_.size(); ++b) {
      convs.push_back(convs_[b]);
      check(convs[b].inputs == xs[1] && convs[b].outputs == xs[1], "x", xs);
    }
    ResidualBlocksTask task{};
    task.x = runtime_.data(x);
    task.gated = runtime_.data(gated) + column_ * gs[1] * gs[2] * gs[3];
    task.mix_above = runtime_.data(above) + column_ * blocks * xs[1];
    task.convs = convs.data();
    task.out = runtime_.output(context, 0, xs);
    task.activated = runtime_.output(context, 1, {gs[1], gs[2], gs[3]});
    task.blocks = static_cast<int>(blocks);
    task.layers = static_cast<int>(gs[1]);
    task.batch = static_cast<int>(xs[0]);
    task.channels = static_cast<int>(xs[1]);
    task.inplace = Inplace;
    runtime_.run(context, kernels_.residual_blocks, task);
  }

 private:
  static std::vector<std::pair<int, int>> inputs(size_t count) {
    if (count < 4) throw std::invalid_argument("expected a weight per block");
    std::vector<std::pair<int, int>> indices;
    for (size_t index = 3; index < count; ++index) indices.emplace_back(static_cast<int>(index), -1);
    return indices;
  }

  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_;
  PackedMatrices convs_;
};

}  // namespace latentloop
