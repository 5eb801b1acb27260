// Runs a list of phases in a single parallel region of the session's threads, or if it is short, on the calling thread.
// Each phase needs all results of the phase before it.
//
// A parallel region costs some 10 microseconds, because the session's threads sleep between regions; the products of a
// small model's step take no longer than that. Threads claim items in order. So a thread that waits for a phase waits
// only for items that running threads have claimed, and no number of threads can cause a deadlock.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "../kernels.h"
#include "../steps/cost.h"
#include "onnxruntime/runtime.h"

namespace latentloop {

// The memory that one run of a step needs. It is kept for the next run.
struct StepWorkspace {
  PhaseList list;
  StepMemory memory;
  std::vector<size_t> first_items;                // of each task, among all items of the list
  std::vector<size_t> first_tasks, phase_starts;  // of each phase: its first task and item; then the ends
  std::unique_ptr<std::atomic<size_t>[]> done;    // items of each phase that are complete
  size_t done_size{};
};

class PhaseRun {
 public:
  PhaseRun(StepWorkspace& workspace, const Kernels& kernels) : w_(workspace), kernels_(kernels) {
    const size_t phases = w_.list.phases();
    if (w_.done_size < phases) w_.done.reset(new std::atomic<size_t>[phases]), w_.done_size = phases;
    w_.first_items.clear(), w_.first_tasks.clear(), w_.phase_starts.clear();
    for (size_t phase = 0; phase < phases; ++phase) {
      w_.done[phase].store(0, std::memory_order_relaxed);
      w_.first_tasks.push_back(w_.first_items.size()), w_.phase_starts.push_back(items_);
      for (const Task* task = w_.list.begin(phase); task != w_.list.end(phase); ++task) {
        w_.first_items.push_back(items_);
        items_ += kernels.step_items(*task);
      }
    }
    w_.phase_starts.push_back(items_);
  }

  // Runs everything. Throws std::bad_alloc, or std::out_of_range for a code that does not exist.
  void run(const Runtime& runtime, const OrtKernelContext* context) {
    if (is_worth_threads(w_.list)) {
      run_on_threads(runtime, context);
    } else {
      claim_items();
    }
    if (outcome_ == kOutOfMemory) throw std::bad_alloc();
    if (outcome_ == kNoSuchCode) throw std::out_of_range("a code is below 0 or above the codebook's size");
  }

 private:
  static constexpr size_t kMostThreads{64};
  static constexpr int kSpins{2000};  // reads of a counter, a few microseconds, before the thread yields the processor

  void run_on_threads(const Runtime& runtime, const OrtKernelContext* context) {
    const auto run_thread = [](void* state, size_t) { static_cast<PhaseRun*>(state)->claim_items(); };
    runtime.call<ort::KernelContextParallelFor>(context, +run_thread, kMostThreads, size_t{0},
                                                static_cast<void*>(this));
  }

  void claim_items() {
    size_t phase = 0, task = 0;
    for (size_t item = next_++; item < items_; item = next_++) {
      while (item >= w_.phase_starts[phase + 1]) ++phase;
      if (task < w_.first_tasks[phase]) task = w_.first_tasks[phase];
      while (task + 1 < w_.first_items.size() && item >= w_.first_items[task + 1]) ++task;
      if (phase > 0) wait_for(phase - 1);
      const Task& claimed = w_.list.begin(phase)[task - w_.first_tasks[phase]];
      const Outcome outcome = kernels_.step_item(claimed, item - w_.first_items[task]);
      if (outcome != kComplete) outcome_.store(outcome, std::memory_order_relaxed);
      w_.done[phase].fetch_add(1, std::memory_order_release);
    }
  }

  void wait_for(size_t phase) const {
    const size_t items = w_.phase_starts[phase + 1] - w_.phase_starts[phase];
    for (int spins = 0; w_.done[phase].load(std::memory_order_acquire) != items; ++spins)
      if (spins > kSpins) std::this_thread::yield();
  }

  StepWorkspace& w_;
  const Kernels& kernels_;
  size_t items_{};
  std::atomic<size_t> next_{0};
  std::atomic<int> outcome_{kComplete};
};

// Runs the steps of an operator, several at the same time if need be; each has a workspace of its own.
class StepRunner {
 public:
  // Runs the phases that build(list, memory) adds to an empty list. Throws as PhaseRun::run does.
  template <typename Build>
  void run(const Kernels& kernels, const Runtime& runtime, const OrtKernelContext* context, const Build& build) {
    std::unique_ptr<StepWorkspace> workspace = take();
    workspace->list.clear(), workspace->memory.clear();
    build(workspace->list, workspace->memory);
    PhaseRun(*workspace, kernels).run(runtime, context);
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(workspace));
  }

 private:
  std::unique_ptr<StepWorkspace> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<StepWorkspace>();
    std::unique_ptr<StepWorkspace> workspace = std::move(free_.back());
    free_.pop_back();
    return workspace;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<StepWorkspace>> free_;
};

}  // namespace latentloop
