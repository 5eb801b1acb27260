// Runs phases of parallel work in a single parallel region. Each phase needs all results of the phase before it.
//
// One parallel region costs about 20 microseconds, because the session's threads sleep between regions; a matrix
// product of a step takes 50 microseconds. Threads claim items in order. So a thread that waits for a phase waits only
// for items that running threads have claimed, and no number of threads can cause a deadlock.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#include "onnxruntime/runtime.h"

namespace latentloop {

class Phases {
 public:
  // `items`: number of items of each phase.
  explicit Phases(std::vector<size_t> items) : items_(std::move(items)), done_(items_.size()) {}

  // Calls work(phase, item) for every item. `work` must not throw.
  template <typename Work>
  void run(const Runtime& runtime, const OrtKernelContext* context, const Work& work) {
    struct Region {
      Phases& phases;
      const Work& work;
    } region{*this, work};
    const auto run_thread = [](void* state, size_t) {
      auto* shared = static_cast<Region*>(state);
      shared->phases.claim_items(shared->work);
    };
    runtime.call<ort::KernelContextParallelFor>(context, +run_thread, kMostThreads, size_t{0},
                                                static_cast<void*>(&region));
  }

 private:
  static constexpr size_t kMostThreads{64};
  static constexpr int kSpins{2000};  // reads of a counter, a few microseconds, before the thread yields the processor

  template <typename Work>
  void claim_items(const Work& work) {
    size_t phase = 0, earlier_items = 0;  // in the phases before `phase`
    for (size_t claimed = next_++;; claimed = next_++) {
      while (phase < items_.size() && claimed - earlier_items >= items_[phase]) earlier_items += items_[phase++];
      if (phase == items_.size()) return;
      if (phase > 0) wait_for(phase - 1);
      work(phase, claimed - earlier_items);
      done_[phase].fetch_add(1, std::memory_order_release);
    }
  }

  void wait_for(size_t phase) const {
    for (int spins = 0; done_[phase].load(std::memory_order_acquire) != items_[phase]; ++spins)
      if (spins > kSpins) std::this_thread::yield();
  }

  std::vector<size_t> items_;
  std::vector<std::atomic<size_t>> done_;
  std::atomic<size_t> next_{0};
};

}  // namespace latentloop
