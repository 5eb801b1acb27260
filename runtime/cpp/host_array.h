// Arrays of the caller's, read on the host part by part, wherever they are.
#pragma once

#include <vector>

#include "backend.h"

namespace latentloop {

template <typename T>
class HostArray {
 public:
  HostArray(Backend& backend, const T* array)
      : backend_(&backend), array_(array), is_on_gpu_(backend.is_on_gpu(array)) {}

  bool is_null() const { return array_ == nullptr; }
  bool is_on_gpu() const { return is_on_gpu_; }

  // Returns elements first ... first + count - 1, which are valid until the next call.
  const T* part(int64_t first, int64_t count) {
    if (!is_on_gpu_) return array_ + first;
    copied_.resize(static_cast<size_t>(count));
    backend_->copy(copied_.data(), array_ + first, copied_.size() * sizeof(T));
    return copied_.data();
  }

 private:
  Backend* backend_;
  const T* array_;
  bool is_on_gpu_;
  std::vector<T> copied_;
};

}  // namespace latentloop
