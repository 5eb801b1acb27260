// A thread of a block: a stack of its own, entered and left by hand.
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
  // The stack that the program already runs on.
  Fiber() = default;

  // Makes the next switch here call `entry`, which must call arrived() first and never return.
  void start(void (*entry)()) {
    if (stack_ == nullptr) stack_.reset(new std::byte[kStackBytes]);
    if (getcontext(&context_) != 0) throw std::runtime_error("getcontext failed");
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    makecontext(&context_, entry, 0);
    // AddressSanitizer's swapcontext forgets all it knows about a stack of this size: nothing.
    context_.uc_stack.ss_size = 0;
    bottom_ = stack_.get();
    bytes_ = kStackBytes;
#ifdef LATENTLOOP_GRID_ASAN
    __asan_unpoison_memory_region(bottom_, bytes_);  // frames that were left for good
#endif
  }

  // Leaves this fiber, the running one, for `next`; returns when someone switches back.
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

  // In a new fiber; `from` is the one that switched to it.
  static void arrived(Fiber& from) {
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
