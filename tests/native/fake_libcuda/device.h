// The simulated device: its memory, and the contexts of each thread.
#ifndef LATENTLOOP_TESTS_CUDA_DEVICE_H_
#define LATENTLOOP_TESTS_CUDA_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace fake_cuda {

enum Status : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kInvalidContext = 201,
  kInvalidHandle = 400,
  kNotFound = 500,
  kIllegalAddress = 700,
  kLaunchFailed = 719,
  kNotSupported = 801,  // CUDA_ERROR_NOT_SUPPORTED
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
  kCaptureIsolation = 905,
  kCapturedEvent = 907,
};

using Pointer = uint64_t;

struct Range {
  Pointer at;
  size_t size;
};

// Allocations by address. A freed block is invalid at once; its bytes stay allocated until release(), for pending work.
class Memory {
 public:
  Pointer allocate(size_t size) {
    auto bytes = std::make_unique<char[]>(size + kAlignment);
    std::memset(bytes.get(), 0xfe, size + kAlignment);  // NaN in every floating-point type
    const Pointer at = (reinterpret_cast<Pointer>(bytes.get()) + kAlignment - 1) / kAlignment * kAlignment;
    sizes_[at] = size;
    bytes_[at] = std::move(bytes);
    return at;
  }

  bool free(Pointer at) { return sizes_.erase(at) == 1; }
  void release(Pointer at) { bytes_.erase(at); }

  // Returns the block that contains the range; size 0 if there is none.
  Range block(Range range) const {
    auto after = sizes_.upper_bound(range.at);
    if (after == sizes_.begin()) return {0, 0};
    --after;
    const bool inside = range.at + range.size <= after->first + after->second;
    return inside ? Range{after->first, after->second} : Range{0, 0};
  }

  bool contains(Range range) const { return block(range).size != 0; }

 private:
  static constexpr size_t kAlignment{256};
  std::map<Pointer, std::unique_ptr<char[]>> bytes_;
  std::map<Pointer, size_t> sizes_;
};

inline Memory& device_memory() {
  static Memory memory;
  return memory;
}

inline Memory& page_locked_memory() {
  static Memory memory;
  return memory;
}

inline std::vector<void*>& contexts() {  // a stack; the last one is current
  static thread_local std::vector<void*> pushed;
  return pushed;
}

inline bool in_context() { return !contexts().empty(); }

inline void* host(Pointer at) { return reinterpret_cast<void*>(at); }
inline Pointer address(const void* at) { return reinterpret_cast<Pointer>(at); }

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_DEVICE_H_
