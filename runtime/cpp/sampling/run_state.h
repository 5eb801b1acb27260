// Which call uses a sampler, and whether it is cancelled.
#pragma once

#include <atomic>
#include <cstdint>

#include "../backend.h"

namespace latentloop {

// A run has a number, so that a cancellation never reaches a later run than the one that it was meant for.
class RunState {
 public:
  explicit RunState(Backend& backend) : backend_(backend) {}

  // Begins a run, and ends it on destruction. Throws Error (LL_BUSY) if another one has not ended.
  class Running {
   public:
    explicit Running(RunState& state);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    RunState& state_;
  };

  // Cancels the run, if there is one. Any thread may call it, also a signal handler.
  void cancel() noexcept;

  bool is_cancelled() const { return (state_.load() & kCancelled) != 0; }

 private:
  static constexpr uint64_t kRunning{1}, kCancelled{2}, kNext{4};  // bits; the number of the run is above them
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "cancel() has to be safe in signal handlers");

  void end();

  Backend& backend_;
  std::atomic<uint64_t> state_{0};
  std::atomic<int> cancelling_{0};  // calls of cancel() that are under way
};

}  // namespace latentloop
