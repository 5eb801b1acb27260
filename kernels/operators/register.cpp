// Entry points of the operator library for the CPU. A graph that uses these operators (domain "latentloop") also
// contains them as model-local functions, so it runs without the library too, more slowly.
#include "attention_block.h"
#include "causal_conv.h"
#include "draw_code.h"
#include "mix_chain.h"
#include "nearest_codebook.h"
#include "onnxruntime/custom_op.h"
#include "onnxruntime/registration.h"
#include "output_stack.h"
#include "prior_step/step.h"

// The function that ONNX Runtime calls when the library is registered.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace latentloop;
  return register_operators(
      options, base,
      {custom_op<CausalLeft<false>>(), custom_op<CausalLeft<true>>(), custom_op<CausalAbove<false>>(),
       custom_op<CausalAbove<true>>(), custom_op<MixChain<false>>(), custom_op<AttentionBlock<0, false>>(),
       custom_op<AttentionBlock<1, false>>(), custom_op<OutputStack<false>>(), custom_op<MixChain<true>>(),
       custom_op<AttentionBlock<0, true>>(), custom_op<AttentionBlock<1, true>>(), custom_op<OutputStack<true>>(),
       custom_op<DrawCode>(), custom_op<NearestCodebook>(), custom_op<PriorStep<false>>(),
       custom_op<PriorStep<true>>()});
}

// Returns the name of the instruction set whose kernels run on this processor.
extern "C" __attribute__((visibility("default"))) const char* latentloop_instruction_set() {
  return latentloop::best_kernels().name;
}
