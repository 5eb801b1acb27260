// Contiguous arrays in memory of the GPU.
#pragma once

#include <memory>
#include <vector>

#include "../bundles/views.h"
#include "../cuda/memory.h"

namespace latentloop {

constexpr cuda::Pointer kAlignment{256};  // bytes; TensorRT refuses other addresses

// It does not own its memory.
struct DeviceTensor {
  cuda::Pointer pointer;
  Type type;
  Shape shape;

  size_t bytes() const { return static_cast<size_t>(elements(shape) * element_size(type)); }
  bool is_aligned() const { return pointer % kAlignment == 0; }
  bool overlaps(const DeviceTensor& other) const {
    return pointer < other.pointer + other.bytes() && other.pointer < pointer + bytes();
  }

  // Returns a view of that shape that begins at value number `offset`.
  DeviceTensor view(int64_t offset, const Shape& of) const {
    return {pointer + static_cast<cuda::Pointer>(offset * element_size(type)), type, of};
  }

  // Returns a view of the values at index i of the first axis.
  DeviceTensor row(int64_t i) const {
    const Shape inner{shape.begin() + 1, shape.end()};
    return view(i * elements(inner), inner);
  }
};

// Owns the memory of tensors that one stream uses. The context has to be current when functions are called.
class TensorMemory {
 public:
  TensorMemory(const cuda::Driver& driver, cuda::StreamHandle stream) : driver_(driver), stream_(stream) {}

  // Returns a new tensor, whose values are undefined.
  DeviceTensor allocate(Type type, const Shape& shape) {
    DeviceTensor tensor{0, type, shape};
    allocations_.push_back(std::make_unique<cuda::DeviceMemory>(driver_, tensor.bytes(), stream_));
    tensor.pointer = allocations_.back()->pointer();
    return tensor;
  }

 private:
  const cuda::Driver& driver_;
  const cuda::StreamHandle stream_;
  std::vector<std::unique_ptr<cuda::DeviceMemory>> allocations_;
};

}  // namespace latentloop
