// Simulation of a block of threads on the CPU. Its threads run one at a time, in a random order, each until it waits
// for others at a barrier, shuffle or matrix product.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "errors.h"
#include "fiber.h"
#include "random.h"
#include "shared_memory.h"

namespace latentloop::grid {

constexpr int kWarp{32};
constexpr size_t kMostSharedBytes{48 * 1024};  // the limit of static shared memory

class Block {
 public:
  explicit Block(int threads) : threads_(static_cast<size_t>(threads)), warps_(static_cast<size_t>(threads / kWarp)) {}

  int threads() const { return static_cast<int>(threads_.size()); }

  // Runs `body` in every thread of the block. Throws Fault.
  void run(int64_t x, int y, const std::function<void()>& body) {
    x_ = x, y_ = y, epoch_ = 1, ended_ = at_barrier_ = 0, body_ = &body;
    fault_.reset(), shared_.clear(), ready_.clear();
    for (Warp& warp : warps_) warp.waiting = 0;
    for (size_t t = 0; t < threads_.size(); ++t) {
      threads_[t].fiber.start(&Block::enter);
      threads_[t].ended = false;
      ready_.push_back(static_cast<int>(t));
    }
    running() = this;
    yield_from(launcher_);
    running() = nullptr;
    if (fault_) throw Fault(*fault_);
  }

  static Block& current() { return *running(); }
  int64_t x() const { return x_; }
  int y() const { return y_; }
  int thread() const { return thread_; }
  uint32_t epoch() const { return epoch_; }

  SharedArray& shared(const char* name, size_t element_bytes, int count, Site site) {
    size_t bytes = element_bytes * static_cast<size_t>(count);
    for (SharedArray& array : shared_) {
      if (array.is(name, site)) return array;
      bytes += array.bytes();
    }
    if (bytes > kMostSharedBytes)
      throw Fault(std::string(name) + " brings the shared memory to " + std::to_string(bytes) + " bytes, at most " +
                  std::to_string(kMostSharedBytes));
    return shared_.emplace_back(name, site, element_bytes, count);
  }

  void barrier(Site site) {
    Thread& self = threads_[static_cast<size_t>(thread_)];
    if (at_barrier_ > 0 && !(barrier_site_ == site))
      throw Fault("waits at the barrier of " + site.text() + ", others at that of " + barrier_site_.text());
    barrier_site_ = site;
    self.wait = {"barrier", site};
    if (++at_barrier_ == threads_.size()) {
      at_barrier_ = 0, ++epoch_;
      for (size_t t = 0; t < threads_.size(); ++t) ready_.push_back(static_cast<int>(t));
    }
    yield_from(self.fiber);
  }

  // Waits until all lanes of the warp have called this at the same site; the last lane runs `operation` on all
  // operands.
  template <typename Operand, typename Operation>
  void with_warp(const char* what, Site site, Operand& operand, const Operation& operation) {
    Thread& self = threads_[static_cast<size_t>(thread_)];
    Warp& warp = warps_[static_cast<size_t>(thread_ / kWarp)];
    const Wait wait{what, site};
    if (warp.waiting > 0 && !(warp.wait == wait))
      throw Fault("waits at " + wait.text() + ", another lane of its warp at " + warp.wait.text());
    self.wait = warp.wait = wait;
    warp.operands[static_cast<size_t>(thread_ % kWarp)] = &operand;
    if (++warp.waiting == kWarp) {
      warp.waiting = 0;
      std::array<Operand*, kWarp> operands;
      for (size_t lane = 0; lane < kWarp; ++lane) operands[lane] = static_cast<Operand*>(warp.operands[lane]);
      operation(operands);
      for (int lane = 0; lane < kWarp; ++lane) ready_.push_back(thread_ / kWarp * kWarp + lane);
    }
    yield_from(self.fiber);
  }

  Random random{0};

 private:
  struct Wait {
    const char* what{};
    Site site{};
    bool operator==(const Wait& other) const { return std::strcmp(what, other.what) == 0 && site == other.site; }
    std::string text() const { return "the " + std::string(what) + " of " + site.text(); }
  };
  struct Thread {
    Fiber fiber;
    Wait wait;
    bool ended{};
  };
  struct Warp {
    std::array<void*, kWarp> operands{};
    int waiting{};
    Wait wait;
  };

  static Block*& running() {
    static thread_local Block* block{};  // a global, because device code has no argument for it
    return block;
  }

  static void enter() {
    Block& block = current();
    Fiber::begin(*block.previous_);
    try {
      (*block.body_)();
    } catch (const Fault& fault) {
      block.fault_ = "thread " + std::to_string(block.thread_) + " " + fault.what();
    }
    ++block.ended_;
    Thread& self = block.threads_[static_cast<size_t>(block.thread_)];
    self.ended = true;
    block.yield_from(self.fiber);
  }

  // Switches from the fiber `self` to a random ready thread, or to the launcher if there is none or after a fault.
  void yield_from(Fiber& self) {
    Fiber* next = &launcher_;
    if (!fault_ && !ready_.empty()) {
      std::swap(ready_[random.below(ready_.size())], ready_.back());
      thread_ = ready_.back();
      ready_.pop_back();
      next = &threads_[static_cast<size_t>(thread_)].fiber;
    } else if (!fault_ && ended_ < threads_.size()) {
      fault_ = deadlock();
    }
    previous_ = &self;
    if (next != &self) self.switch_to(*next);
  }

  // Describes a deadlock: a thread waits for another one, which has ended or waits elsewhere.
  std::string deadlock() const {
    for (size_t t = 0; t < threads_.size(); ++t) {
      const Wait& wait = threads_[t].wait;
      if (threads_[t].ended) continue;
      const bool by_warp = std::strcmp(wait.what, "barrier") != 0;
      const size_t begin = by_warp ? t / kWarp * kWarp : 0, end = by_warp ? begin + kWarp : threads_.size();
      for (size_t other = begin; other < end; ++other) {
        const std::string waits = "thread " + std::to_string(t) + " waits at " + wait.text() + " for thread " +
                                  std::to_string(other) + ", which ";
        if (threads_[other].ended) return waits + "ended";
        if (!(threads_[other].wait == wait)) return waits + "waits at " + threads_[other].wait.text();
      }
    }
    return "deadlock";  // unreachable
  }

  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<int> ready_;
  std::deque<SharedArray> shared_;
  Fiber launcher_;
  Fiber* previous_{};
  const std::function<void()>* body_{};
  std::optional<std::string> fault_;
  Site barrier_site_{};
  size_t ended_{}, at_barrier_{};
  uint32_t epoch_{};
  int64_t x_{};
  int y_{}, thread_{};
};

}  // namespace latentloop::grid
