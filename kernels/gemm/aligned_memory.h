// Aligned memory for packed weights, on huge pages if the system grants them. A step streams tens of megabytes; with
// pages of 4 KiB, address translation alone can halve the bandwidth.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace latentloop {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

template <typename T>
using Packed = std::unique_ptr<T[], Free>;

// Returns uninitialised memory that is aligned to at least a cache line. Throws std::bad_alloc.
template <typename T>
Packed<T> allocate_packed(size_t count) {
  constexpr size_t kHugePage{size_t{2} << 20}, kLeastForHugePage{size_t{256} << 10};
  const size_t bytes = count * sizeof(T);
  const size_t alignment = bytes >= kLeastForHugePage ? kHugePage : 64;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
#ifdef __linux__
  if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // only a hint: the kernel may refuse
#endif
  return Packed<T>(static_cast<T*>(memory));
}

}  // namespace latentloop
