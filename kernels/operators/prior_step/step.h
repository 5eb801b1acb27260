// The operators PriorStep and PriorStepInplace: a whole step of a prior, for its n columns up to their draws.
//
// Attributes: kernel (size of the causal convolutions, k; p = k // 2), columns (n), blocks, layers (per block; L in
// all), heads (of attention; 0: blocks end with a 1 x 1 convolution), stages (of the output stack), labels (0 or 1),
// filtered (0 or 1), bits (see weight_bits). Inplace: for priors whose layers and gated blocks overwrite their input by
// its ELU.
//
// Inputs, float32 if not marked int64:
//   codes [p, B] int64, residual [p + n - 1, L, B, C], hidden [p - 1, L, B, R] if p > 1, conv1_above [n, L, B, R],
//   conv2_above [n, L, B, 2 C], input_above [n, B, C];
//   without attention mix_above [n, blocks, 1, C];
//   with attention background [n, B, 2], history_mask [S, 1, 1, 1, 1], column [1, 1] int64, and per block keys
//   [S, B, heads, d, W], values [S, B, heads, W, d], row_keys and row_values [W, B, heads d];
//   with labels class_pointwise [B, the sum of 2 width of the gated blocks];
//   uniform [n, B], temperature [B], forced [n, B] int64; if filtered top_k [B] int64, top_p [B], min_p [B];
//   weights: conv1_left [p, L, C, R], conv2_left [p, L, R, 2 C], left_table [p (K + 1), C]; of every block one [C, C],
//   or with attention those of AttentionBlock; of every stage those of OutputStack; logits [C, K] and their bias.
// Outputs: code [n, B] int64, logits [n, B, K], residual_next [n, L, B, C], hidden_next [n, L, B, R], and with
//   attention per block row_keys_next and row_values_next [n, B, heads d].
#pragma once

#include <array>

#include "../../dispatch.h"
#include "../phases.h"
#include "buffers.h"
#include "weights.h"

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
        weights_(runtime, info, form_, form_.state_inputs(), Inplace, kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    const PriorBuffers buffers = PriorInputs::read(form_, weights_.model(), weights_.left_table(), runtime_, context);
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory& memory) {
      PriorStepBuilder(weights_.model(), buffers, list, memory).build();
    });
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  PriorForm form_;
  PriorWeights weights_;
  mutable StepRunner runner_;
};

}  // namespace latentloop
