// Work in phases, each of which needs all of the one before, in one parallel region.
//
// A region of the session's threads costs some 20 microseconds, for they sleep between regions; a product of a step
// costs 50. Items are claimed in order, so whoever waits for a phase waits for items that running threads hold: nothing
// is assumed of how many threads there are.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

namespace latentloop {

class Phases {
 public:
  // `items`: how many each phase has.
  explicit Phases(std::vector<size_t> items) : items_(std::move(items)), done_(items_.size()) {}

  // Calls work(phase, item) for every item. `work` must not throw.
  template <typename Work>
  void run(const Runtime& runtime, const OrtKernelContext* context, const Work& work) {
    struct Region {
      Phases& phases;
      const Work& work;
    } region{*this, work};
    const auto take_part = [](void* state, size_t) {
      auto* shared = static_cast<Region*>(state);
      shared->phases.take_part(shared->work);
    };
    runtime.call<ort::KernelContextParallelFor>(context, +take_part, kMostThreads, size_t{0},
                                                static_cast<void*>(&region));
  }

 private:
  static constexpr size_t kMostThreads{64};
  static constexpr int kPatience{2000};  // looks at a counter, some microseconds, before the processor is given away

  template <typename Work>
  void take_part(const Work& work) {
    size_t phase = 0, before = 0;  // items of earlier phases
    for (size_t claimed = next_++;; claimed = next_++) {
      while (phase < items_.size() && claimed - before >= items_[phase]) before += items_[phase++];
      if (phase == items_.size()) return;
      if (phase > 0) wait_for(phase - 1);
      work(phase, claimed - before);
      done_[phase].fetch_add(1, std::memory_order_release);
    }
  }

  void wait_for(size_t phase) const {
    for (int looks = 0; done_[phase].load(std::memory_order_acquire) != items_[phase]; ++looks)
      if (looks > kPatience) std::this_thread::yield();
  }

  std::vector<size_t> items_;
  std::vector<std::atomic<size_t>> done_;
  std::atomic<size_t> next_{0};
};

}  // namespace latentloop
