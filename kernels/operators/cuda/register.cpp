// The entry point of the operators for ONNX Runtime's CUDA provider.
//
// For sessions with that provider alone: elsewhere a graph that names these operators does not load, because ONNX
// Runtime prefers a known operator to the graph's function even where it has no kernel. Such a session registers this
// library and not the processor's: each brings its domain "latentloop" whole, which ONNX Runtime takes once. Nor would
// both be wanted: what this library lacks then runs on the GPU as functions, instead of on the processor between
// copies.
#include "../registration.h"
#include "nearest_codebook.h"

namespace latentloop {

constexpr const char* kProvider{"CUDAExecutionProvider"};

template <typename Operator>
const OrtCustomOp* on_gpu() {
  static const OrtCustomOp op = [] {
    OrtCustomOp d = *description<Operator>();
    d.GetExecutionProviderType = [](const OrtCustomOp*) { return kProvider; };
    return d;
  }();
  return &op;
}

}  // namespace latentloop

// What ONNX Runtime looks for in an operator library.
extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace latentloop;
  return register_operators(options, base,
                            {on_gpu<NearestCodebook<ort::kFloat>>(), on_gpu<NearestCodebook<ort::kFloat16>>()});
}
