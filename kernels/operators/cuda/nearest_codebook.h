// The operator NearestCodebook for ONNX Runtime's CUDA execution provider. It calls nearest_codebook/cuda/launch.h.
//
// NearestCodebook, attribute channels_first (0 or 1)
//   z [..., D], or if channels_first [B, D, ...], codebook [K, D] of z's type -> index int64 [...] or [B, ...]
//
// Every call computes the codebook's norms, which takes a few microseconds, so the codebook need not be a constant.
#pragma once

#include <array>
#include <stdexcept>

#include "../../nearest_codebook/cuda/launch.h"
#include "../../nearest_codebook/cuda/tensor_shapes.h"
#include "../onnxruntime/runtime.h"
#include "device_scratch.h"

namespace latentloop {

inline void check_cuda(int status) {
  if (status != LATENTLOOP_CUDA_OK) throw std::runtime_error(latentloop_cuda_error());
}

struct Device {
  int32_t index, multiprocessors;

  static Device current() {
    Device device{};
    check_cuda(latentloop_cuda_device(&device.index, &device.multiprocessors));
    return device;
  }
};

template <ort::ElementType Type>
class NearestCodebook {
 public:
  static constexpr const char* kName{"NearestCodebook"};
  static constexpr bool kVariadic{false};
  static constexpr std::array kInputs{Type, Type};
  static constexpr std::array kOutputs{ort::kInt64};

  NearestCodebook(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        channels_first_(runtime.attribute(info, "channels_first")),
        device_(Device::current()),
        memory_(runtime, device_.index) {
    if (channels_first_ > 1) throw std::invalid_argument("channels_first must be 0 or 1");
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue *z = runtime_.input(context, 0), *codebook = runtime_.input(context, 1);
    const Shape codewords = runtime_.shape(codebook);
    Shape shape = runtime_.shape(z);
    latentloop_cuda_nearest_problem problem{};
    if (!nearest::describe(view(shape), view(codewords), channels_first_, problem))
      throw std::invalid_argument("z has the shape " + text(shape) + ", codebook " + text(codewords) + ", expected " +
                                  (channels_first_ ? "[B, D, ...]" : "[..., D]") + " and [K, D]");
    shape.erase(shape.begin() + nearest::dimensions_axis(static_cast<int>(shape.size()), channels_first_));
    problem.type = Type == ort::kFloat ? LATENTLOOP_CUDA_FLOAT32 : LATENTLOOP_CUDA_FLOAT16;
    problem.multiprocessors = device_.multiprocessors;
    int64_t prepared_bytes = 0, workspace_bytes = 0;
    check_cuda(latentloop_cuda_nearest_sizes(&problem, &prepared_bytes, &workspace_bytes));

    void* stream = nullptr;
    runtime_.call<ort::KernelContextGetGPUComputeStream>(context, &stream);
    const DeviceScratch scratch(runtime_, context, memory_, static_cast<size_t>(workspace_bytes + prepared_bytes));
    latentloop_cuda_nearest_memory memory{};
    memory.z = runtime_.data<void>(z);
    memory.codebook = runtime_.data<void>(codebook);
    memory.workspace = scratch.data();  // first, because its alignment is larger
    memory.workspace_bytes = workspace_bytes;
    memory.prepared = scratch.data() + workspace_bytes;
    memory.index = runtime_.output<int64_t>(context, 0, shape);
    check_cuda(latentloop_cuda_nearest_prepare(&problem, memory.codebook, scratch.data() + workspace_bytes, stream));
    check_cuda(latentloop_cuda_nearest_codebook(&problem, &memory, stream));
  }

 private:
  static nearest::TensorShape view(const Shape& shape) { return {shape.data(), static_cast<int>(shape.size())}; }

  Runtime runtime_;
  int64_t channels_first_;
  Device device_;
  DeviceMemory memory_;
};

}  // namespace latentloop
