// Fibers, which execute the threads of a block: each has its own stack, and switches are explicit.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#define LATENTLOOP_GRID_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LATENTLOOP_GRID_ASAN 1
#endif
#endif

#ifdef LATENTLOOP_GRID_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace latentloop::grid {

class Fiber {
 public:
  // The fiber of the calling thread, with its existing stack.
  Fiber() = default;

  // The next switch to this fiber calls `entry`, which must call begin() first and must not return.
  void start(void (*entry)()) {
    if (stack_ == nullptr) stack_.reset(new std::byte[kStackBytes]);
    if (getcontext(&context_) != 0) throw std::runtime_error("getcontext failed");
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    makecontext(&context_, entry, 0);
    // AddressSanitizer's swapcontext would clear its shadow memory of the whole stack: size 0 prevents that.
    context_.uc_stack.ss_size = 0;
    bottom_ = stack_.get();
    bytes_ = kStackBytes;
#ifdef LATENTLOOP_GRID_ASAN
    __asan_unpoison_memory_region(bottom_, bytes_);  // frames of the fiber's previous use
#endif
  }

  // Switches from this fiber, which is running, to `next`. Returns after a switch back.
  void switch_to(Fiber& next) {
#ifdef LATENTLOOP_GRID_ASAN
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, next.bottom_, next.bytes_);
#endif
    if (swapcontext(&context_, &next.context_) != 0) throw std::runtime_error("swapcontext failed");
#ifdef LATENTLOOP_GRID_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

  // Must be called first in a new fiber; `from` is the fiber that switched to it.
  static void begin(Fiber& from) {
#ifdef LATENTLOOP_GRID_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.bytes_);
#else
    (void)from;
#endif
  }

 private:
  static constexpr size_t kStackBytes{128 * 1024};

  ucontext_t context_{};
  std::unique_ptr<std::byte[]> stack_;
  const void* bottom_{};
  size_t bytes_{};
};

}  // namespace latentloop::grid
