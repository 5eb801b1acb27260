#include "execution.h"

#include <algorithm>

#include "library.h"

namespace latentloop {

namespace {

nvinfer1::Dims dims_of(const Shape& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(std::min(shape.size(), size_t{nvinfer1::Dims::MAX_DIMS}));
  std::copy_n(shape.begin(), dims.nbDims, dims.d);
  return dims;
}

// Returns whose failure TensorRT reports. Its codes do not tell, but its texts do: "Error Code 1: Cuda Runtime (out of
// memory)", "Error Code 2: OutOfMemory (Requested size was 1024 bytes.)".
ll_status status_of(const std::string& reason) {
  const auto mentions = [&reason](const char* words) { return reason.find(words) != reason.npos; };
  if (mentions("OutOfMemory") || mentions("out of memory")) return LL_OUT_OF_MEMORY;
  return mentions("Cuda Runtime (") || mentions("Cuda Driver (") ? LL_DEVICE : LL_BAD_BUNDLE;
}

}  // namespace

std::string reported_reason() {
  const std::string reason = ErrorLog::take();
  return reason.empty() ? "it reports no reason" : reason;
}

Error load_error(const EngineSet& set, const std::string& file) {
  const std::string reason = reported_reason();
  const ll_status status = status_of(reason);
  return {status, text(set.folder, "/", file, ": TensorRT cannot load it: ", reason,
                       status == LL_BAD_BUNDLE ? "; build it again with `latentloop build-engines --force`" : "")};
}

std::unique_ptr<Execution> Execution::create(std::string path, nvinfer1::ICudaEngine& engine, int32_t profile,
                                             cuda::StreamHandle stream) {
  std::unique_ptr<Execution> made{new Execution(std::move(path), engine)};
  const bool is_ready = made->execution_ &&
                        made->execution_->setOptimizationProfileAsync(profile, reinterpret_cast<cudaStream_t>(stream));
  return is_ready ? std::move(made) : nullptr;
}

Execution::Execution(std::string path, nvinfer1::ICudaEngine& engine) : path_(std::move(path)) {
#ifdef TRT_MAJOR_RTX
  // TensorRT for RTX compiles kernels on the GPU: those for the loop's shapes must be compiled before the first
  // capture, not later in the background.
  config_.reset(engine.createRuntimeConfig());
  if (!config_) return;
  config_->setDynamicShapesKernelSpecializationStrategy(nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
  execution_.reset(engine.createExecutionContext(config_.get()));
#else
  execution_.reset(engine.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kSTATIC));
#endif
  for (int32_t n = 0; n < engine.getNbIOTensors(); ++n) {
    const char* name = engine.getIOTensorName(n);
    if (engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT) input_shapes_[name];
  }
}

void Execution::enqueue(const std::map<std::string, DeviceTensor>& tensors, cuda::StreamHandle stream) {
  ErrorLog::take();
  for (const auto& [name, tensor] : tensors) {
    const auto input = input_shapes_.find(name);
    if (input != input_shapes_.end() && input->second != tensor.shape) {
      if (!execution_->setInputShape(name.c_str(), dims_of(tensor.shape))) fail();
      input->second = tensor.shape;
    }
    if (!execution_->setTensorAddress(name.c_str(), reinterpret_cast<void*>(tensor.pointer))) fail();
  }
  if (!execution_->enqueueV3(reinterpret_cast<cudaStream_t>(stream))) fail();
}

void Execution::fail() const {
  const std::string reason = reported_reason();
  throw Error(status_of(reason), text(path_, ": TensorRT cannot run it: ", reason));
}

}  // namespace latentloop
