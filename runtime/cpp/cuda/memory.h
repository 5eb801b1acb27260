// Memory of the GPU, and page-locked memory of the host. The context has to be current when functions are called.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "driver.h"

namespace latentloop::cuda {

// Allocated and freed in the order of a stream, which has to outlive it.
class DeviceMemory {
 public:
  DeviceMemory(const Driver& driver, size_t bytes, StreamHandle stream) : driver_(driver), stream_(stream) {
    driver_.allocate(&pointer_, bytes, stream);
  }
  ~DeviceMemory() { driver_.free.status(pointer_, stream_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  Pointer pointer() const { return pointer_; }

 private:
  const Driver& driver_;
  const StreamHandle stream_;
  Pointer pointer_{};
};

// Memory of the host that the GPU copies from and to without waiting.
class PageLocked {
 public:
  PageLocked(const Driver& driver, size_t bytes) : driver_(driver), bytes_(bytes) {
    driver_.allocate_host(&data_, bytes, 0);
  }
  ~PageLocked() { driver_.free_host.status(data_); }
  PageLocked(const PageLocked&) = delete;
  PageLocked& operator=(const PageLocked&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  const Driver& driver_;
  const size_t bytes_;
  void* data_{};
};

}  // namespace latentloop::cuda
