// The state buffers of one level's loop in memory of the GPU, and the views of bindings.
#pragma once

#include <map>
#include <string>

#include "staging.h"
#include "tensor.h"

namespace latentloop {

// For one batch size. The context has to be current when functions are called.
class DeviceStateBuffers {
 public:
  // Fills every buffer: graphs may also read values that no step has written yet, and mask them.
  DeviceStateBuffers(const Prior& prior, int64_t batch, Staging& staging);

  // Returns the whole buffer; null if there is none of that name.
  const DeviceTensor* find(const std::string& name) const;
  const DeviceTensor& operator[](const std::string& name) const { return *find(name); }

  // Returns another tensor, which is freed together with the buffers.
  DeviceTensor allocate(Type type, const Shape& shape) { return memory_.allocate(type, shape); }

  // Returns the view of a binding at row i and column j.
  DeviceTensor view(const Binding& binding, int64_t i, int64_t j) const;

  // Enqueues a reset of every ring to its state before the first row.
  void clear_rings() const;

  // Enqueues a copy of a tensor.
  void copy(const DeviceTensor& target, const DeviceTensor& source) const;

 private:
  const Prior& prior_;
  const int64_t batch_;
  const cuda::Stream& stream_;
  TensorMemory memory_;
  std::vector<DeviceTensor> tensors_;     // by index of the buffer
  std::map<size_t, DeviceTensor> fills_;  // the initial values of rings, by index, if these are not zero
};

}  // namespace latentloop
