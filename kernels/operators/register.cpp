// The library's entry points. A graph that names these operators (domain "latentloop") holds the same computation as
// model-local functions, so the library is an optimisation that a host may leave unregistered.
#include "causal.h"
#include "chain.h"
#include "nearest.h"
#include "output.h"

// What ONNX Runtime looks for in an operator library.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace latentloop;
  const OrtApi* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) return nullptr;  // older than 1.20: its graphs keep their function bodies
  const Runtime runtime{api};
  try {
    OrtCustomOpDomain* domain = nullptr;  // lives as long as the process: sessions may outlive any owner we could name
    runtime.call<ort::CreateCustomOpDomain>("latentloop", &domain);
    for (const OrtCustomOp* op :
         {description<CausalLeft<false>>(), description<CausalLeft<true>>(), description<CausalAbove<false>>(),
          description<CausalAbove<true>>(), description<MixChain>(), description<AttentionBlock<0>>(),
          description<AttentionBlock<1>>(), description<OutputStack>(), description<DrawCode>(),
          description<NearestCodebook>()})
      runtime.call<ort::CustomOpDomainAdd>(domain, op);
    runtime.call<ort::AddCustomOpDomain>(options, domain);
  } catch (const std::exception& error) {
    return runtime.status(error.what());
  }
  return nullptr;
}

// The instruction set whose kernels run on this processor.
extern "C" __attribute__((visibility("default"))) const char* latentloop_instruction_set() {
  return latentloop::best_kernels().name;
}
