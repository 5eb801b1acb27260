// Entry point of the operator library for ONNX Runtime's CUDA execution provider.
//
// Register it only in sessions with that provider. In other sessions a graph with these operators does not load: ONNX
// Runtime prefers a registered operator to the graph's function, even if no provider of the session implements it.
// A session registers either this library or the one for the CPU: ONNX Runtime accepts the domain "latentloop" only
// once. Both would not be useful: operators that this library lacks run on the GPU as functions, which avoids copies to
// the CPU and back.
#include "../onnxruntime/custom_op.h"
#include "../onnxruntime/registration.h"
#include "nearest_codebook.h"

namespace latentloop {

constexpr const char* kProvider{"CUDAExecutionProvider"};

template <typename Operator>
const OrtCustomOp* cuda_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp op = *custom_op<Operator>();
    op.GetExecutionProviderType = [](const OrtCustomOp*) { return kProvider; };
    return op;
  }();
  return &op;
}

}  // namespace latentloop

// The function that ONNX Runtime calls when the library is registered.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace latentloop;
  return register_operators(options, base,
                            {cuda_op<NearestCodebook<ort::kFloat>>(), cuda_op<NearestCodebook<ort::kFloat16>>()});
}
