// Copies between the host and the GPU through page-locked memory, so that nothing waits.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "../cuda/stream.h"
#include "tensor.h"

namespace latentloop {

using PageLockedPool =
    std::multimap<size_t, std::unique_ptr<cuda::PageLocked>>;  // unused buffers by size: powers of two

// Copies in the order of one stream, through buffers of a pool. The context has to be current when functions are
// called.
class Staging {
 public:
  Staging(const cuda::Stream& stream, PageLockedPool& pool) : stream_(stream), pool_(pool) {}
  ~Staging();  // waits for the stream, unless the buffers are released
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const cuda::Stream& stream() const { return stream_; }

  // Returns memory of the host for the tensor's values. send() enqueues the copy of what is written there.
  template <typename T>
  T* prepare(const DeviceTensor& tensor) {
    return static_cast<T*>(buffer(tensor.bytes()));
  }
  void send(const DeviceTensor& tensor, const void* prepared);

  // Enqueues a copy to the GPU. The values may be changed at once.
  void copy_in(const DeviceTensor& tensor, const void* values);

  // Enqueues a copy to the host. The values are there once an event recorded after this call has been waited for, and
  // valid until release().
  template <typename T>
  const T* copy_out(const DeviceTensor& tensor) {
    return static_cast<const T*>(fetch(tensor));
  }

  // Returns the buffers to the pool. All copies must have been waited for.
  void release();

 private:
  void* buffer(size_t needed);
  const void* fetch(const DeviceTensor& tensor);

  const cuda::Stream& stream_;
  PageLockedPool& pool_;
  std::vector<std::unique_ptr<cuda::PageLocked>> in_use_;
};

}  // namespace latentloop
