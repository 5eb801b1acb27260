// Allocations of the simulated GPU's memory and of page-locked host memory, filled with poison and between guards.
#ifndef LATENTLOOP_TESTS_CUDA_ALLOCATIONS_H_
#define LATENTLOOP_TESTS_CUDA_ALLOCATIONS_H_

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>

#include "accesses.h"

namespace fake_cuda {

constexpr size_t kAlignment{256};
constexpr size_t kGuard{256};  // bytes on each side of an allocation

enum class MemoryKind { kDevice, kHost, kInternal };  // kInternal: a library's, which the program cannot free

// NaN as float32, float16 and bfloat16, and negative as an integer.
inline uint8_t poison_of(Pointer at) { return at % 2 == 0 ? 0xfe : 0xff; }

inline void* host(Pointer at) { return reinterpret_cast<void*>(at); }
inline Pointer address(const void* at) { return reinterpret_cast<Pointer>(at); }

struct Context;

class Allocation {
 public:
  Allocation(size_t bytes, MemoryKind of_kind, std::shared_ptr<Context> of_context)
      : size(bytes),
        kind(of_kind),
        context(std::move(of_context)),
        history(bytes),
        memory_(std::aligned_alloc(kAlignment, (bytes + 2 * kGuard + kAlignment - 1) / kAlignment * kAlignment)) {
    if (memory_ == nullptr) throw std::bad_alloc();
    pointer = address(memory_) + kGuard;
    fill(address(memory_), size + 2 * kGuard);
  }
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  // The memory is never returned, so that an address is never used again.
  Pointer pointer;
  size_t size;
  MemoryKind kind;
  std::shared_ptr<Context> context;
  bool freed{false};
  AccessHistory history;

  void poison() { fill(pointer, size); }
  void poison(size_t first, size_t bytes) { fill(pointer + first, bytes); }

  bool guards_are_intact() const { return is_poison(address(memory_), kGuard) && is_poison(pointer + size, kGuard); }

 private:
  static void fill(Pointer first, size_t bytes) {
    auto* at = static_cast<uint8_t*>(host(first));
    for (size_t i = 0; i < bytes; ++i) at[i] = poison_of(first + i);
  }

  static bool is_poison(Pointer first, size_t bytes) {
    const auto* at = static_cast<const uint8_t*>(host(first));
    for (size_t i = 0; i < bytes; ++i) {
      if (at[i] != poison_of(first + i)) return false;
    }
    return true;
  }

  void* memory_;
};

// All allocations, including freed ones.
class Allocations {
 public:
  std::shared_ptr<Allocation> add(size_t size, MemoryKind kind, std::shared_ptr<Context> context) {
    auto made = std::make_shared<Allocation>(size, kind, std::move(context));
    all_[made->pointer] = made;
    return made;
  }

  // Returns the allocation, freed or not, that contains the byte; null if there is none.
  std::shared_ptr<Allocation> at(Pointer pointer) const {
    auto after = all_.upper_bound(pointer);
    if (after == all_.begin()) return nullptr;
    --after;
    return pointer < after->first + after->second->size ? after->second : nullptr;
  }

  // Returns the allocation, freed or not, that contains all the bytes; null if there is none.
  std::shared_ptr<Allocation> find(Pointer pointer, size_t size) const {
    const auto found = at(pointer);
    return found && size <= found->size && pointer + size <= found->pointer + found->size ? found : nullptr;
  }

  const std::map<Pointer, std::shared_ptr<Allocation>>& all() const { return all_; }

 private:
  std::map<Pointer, std::shared_ptr<Allocation>> all_;
};

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_ALLOCATIONS_H_
