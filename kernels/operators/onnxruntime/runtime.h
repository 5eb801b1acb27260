// The C API of ONNX Runtime as an operator uses it: tensors become pointers and shapes.
#pragma once

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../kernels.h"
#include "api.h"

namespace latentloop {

using Shape = std::vector<int64_t>;

inline std::string text(const Shape& shape) {
  std::string out{"["};
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

class Runtime : public Api {
 public:
  using Api::Api;

  OrtStatus* status(const char* message) const { return ort::CreateStatus::of(api_)(ort::kInvalidArgument, message); }

  // Returns the tensor's shape; also its element type, if that is asked for.
  Shape shape(const OrtValue* value, int* type = nullptr) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    call<ort::GetTensorTypeAndShape>(value, &info);
    if (type != nullptr) call<ort::GetTensorElementType>(info, type);
    size_t rank = 0;
    call<ort::GetDimensionsCount>(info, &rank);
    Shape dims(rank);
    call<ort::GetDimensions>(info, dims.data(), rank);
    ort::ReleaseTensorTypeAndShapeInfo::of(api_)(info);
    return dims;
  }

  template <typename T = float>
  T* data(const OrtValue* value) const {
    void* memory = nullptr;
    call<ort::GetTensorMutableData>(const_cast<OrtValue*>(value), &memory);
    return static_cast<T*>(memory);
  }

  // Returns an input that must be a constant of the graph. Throws std::invalid_argument.
  const OrtValue* constant(const OrtKernelInfo* info, size_t index) const {
    int is_constant = 0;
    const OrtValue* value = nullptr;
    call<ort::KernelInfoGetConstantInputTensor>(info, index, &is_constant, &value);
    if (!is_constant) throw std::invalid_argument("input " + std::to_string(index) + " must be a constant weight");
    return value;
  }

  const OrtValue* input(const OrtKernelContext* context, size_t index) const {
    const OrtValue* value = nullptr;
    call<ort::KernelContextGetInput>(context, index, &value);
    return value;
  }

  template <typename T = float>
  T* output(OrtKernelContext* context, size_t index, const Shape& shape) const {
    OrtValue* value = nullptr;
    call<ort::KernelContextGetOutput>(context, index, shape.data(), shape.size(), &value);
    return data<T>(value);
  }

  size_t input_count(const OrtKernelInfo* info) const {
    size_t count = 0;
    call<ort::KernelInfoGetInputCount>(info, &count);
    return count;
  }

  // Returns an attribute: a size, index or flag, 0 or more. Throws std::invalid_argument.
  int64_t attribute(const OrtKernelInfo* info, const char* name) const {
    int64_t value = -1;
    OrtStatus* status = ort::KernelInfoGetAttributeInt64::of(api_)(info, name, &value);
    if (status != nullptr) ort::ReleaseStatus::of(api_)(status);
    if (status != nullptr || value < 0 ||
        value > INT32_MAX)  // at most 32 bits, so that sums of attributes do not overflow
      throw std::invalid_argument(std::string{"expected the attribute "} + name + ", 0 or more");
    return value;
  }

  // Runs all items of a task on the session's threads, in one parallel region. Throws std::bad_alloc.
  template <typename Task>
  void run(const OrtKernelContext* context, const Kernel<Task>& kernel, const Task& task) const {
    struct Work {
      const Kernel<Task>& kernel;
      const Task& task;
      std::atomic<bool> complete{true};
    } work{kernel, task};
    const auto item = [](void* state, size_t index) {
      auto* shared = static_cast<Work*>(state);
      if (!shared->kernel.run(shared->task, index)) shared->complete = false;
    };
    const size_t items = kernel.items(task);
    if (items == 1) {
      item(&work, 0);
    } else {
      call<ort::KernelContextParallelFor>(context, +item, items, size_t{0}, static_cast<void*>(&work));
    }
    if (!work.complete) throw std::bad_alloc();
  }
};

// Throws std::invalid_argument, which names the tensor `what` and its shape, if `holds` is false.
inline void check(bool holds, const char* what, const Shape& shape) {
  if (!holds) throw std::invalid_argument(std::string{what} + " has the shape " + text(shape));
}

}  // namespace latentloop
