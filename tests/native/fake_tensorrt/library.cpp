// A fake TensorRT library: it loads the plans of the simulation in tests/fake_gpu, and its engines enqueue work on the
// simulated GPU of fake_libcuda, which ONNX Runtime executes on the CPU. LATENTLOOP_ONNXRUNTIME names ONNX Runtime's
// library or its folder. What a real TensorRT rejects is an error in the log; what leads to wrong results or a crash is
// a violation.
#include <string>

#include "context.h"
#include "runtime.h"
#include "version.h"

using namespace fake_tensorrt;

extern "C" {

FAKE_CUDA_EXPORT void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept {
  if (logger == nullptr) return nullptr;
  auto& errors = *static_cast<nvinfer1::ILogger*>(logger);
  if (version / 10000 != version_numbers()[0]) {
    log_error(errors, "the program was compiled for version " + std::to_string(version) + ", the library is " +
                          library_version());
    return nullptr;
  }
  return static_cast<nvinfer1::IRuntime*>(new Runtime(errors));
}

FAKE_CUDA_EXPORT int32_t getInferLibVersion() noexcept {
  const auto numbers = version_numbers();
  return (numbers[0] * 100 + numbers[1]) * 100 + numbers[2];
}
FAKE_CUDA_EXPORT int32_t getInferLibMajorVersion() noexcept { return version_numbers()[0]; }
FAKE_CUDA_EXPORT int32_t getInferLibMinorVersion() noexcept { return version_numbers()[1]; }
FAKE_CUDA_EXPORT int32_t getInferLibPatchVersion() noexcept { return version_numbers()[2]; }
FAKE_CUDA_EXPORT int32_t getInferLibBuildVersion() noexcept { return version_numbers()[3]; }

// Returns the number of runtimes, engines, contexts or configs.
FAKE_CUDA_EXPORT int fake_tensorrt_live(const char* kind) noexcept {
  const std::string name{kind};
  if (name == "runtimes") return Runtime::live();
  if (name == "engines") return Engine::live();
  if (name == "contexts") return Context::live();
  return name == "configs" ? RuntimeConfig::live() : -1;
}

}  // extern "C"
