// The library's entry points. A graph that names these operators (domain "latentloop") holds the same computation as
// model-local functions, so the library is an optimisation that a host may leave unregistered.
#include "causal.h"
#include "chain.h"
#include "nearest.h"
#include "output.h"
#include "registration.h"

// What ONNX Runtime looks for in an operator library.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace latentloop;
  return register_operators(
      options, base,
      {description<CausalLeft<false>>(), description<CausalLeft<true>>(), description<CausalAbove<false>>(),
       description<CausalAbove<true>>(), description<MixChain<false>>(), description<AttentionBlock<0, false>>(),
       description<AttentionBlock<1, false>>(), description<OutputStack<false>>(), description<MixChain<true>>(),
       description<AttentionBlock<0, true>>(), description<AttentionBlock<1, true>>(), description<OutputStack<true>>(),
       description<DrawCode>(), description<NearestCodebook>()});
}

// The instruction set whose kernels run on this processor.
extern "C" __attribute__((visibility("default"))) const char* latentloop_instruction_set() {
  return latentloop::best_kernels().name;
}
