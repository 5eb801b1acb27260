// A list of phases: what a step computes, in order. Each phase consists of tasks whose work items are independent of
// each other, and needs the results of the phases before it. Any executor can run it: on threads with a barrier after
// each phase, or on one thread from the first item to the last.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "tasks.h"

namespace latentloop {

class PhaseList {
 public:
  void clear() { tasks_.clear(), first_.clear(); }

  // The tasks that are added next belong to a new phase.
  void begin_phase() { first_.push_back(tasks_.size()); }

  void add(const LeftTask& task) { add(Task::kLeft).left = task; }
  void add(const ProductTask& task) { add(Task::kProduct).product = task; }
  void add(const AttendTask& task) { add(Task::kAttend).attend = task; }
  void add(const InputTask& task) { add(Task::kInput).input = task; }
  void add(const DrawTask& task) { add(Task::kDraw).draw = task; }

  size_t phases() const { return first_.size(); }
  const Task* begin(size_t phase) const { return tasks_.data() + first_[phase]; }
  const Task* end(size_t phase) const {
    return tasks_.data() + (phase + 1 < first_.size() ? first_[phase + 1] : tasks_.size());
  }

 private:
  Task& add(Task::Kind kind) {
    Task& task = tasks_.emplace_back();
    task.kind = kind;
    return task;
  }

  std::vector<Task> tasks_;
  std::vector<size_t> first_;  // task of each phase
};

// Memory for the values between tasks. After clear() it is given out again, so repeated steps allocate nothing.
class StepMemory {
 public:
  void clear() { chunk_ = used_ = 0; }

  // Returns `count` floats with undefined contents, aligned to a cache line. Throws std::bad_alloc.
  float* floats(size_t count) { return reinterpret_cast<float*>(bytes(count * sizeof(float))); }

  template <typename T>
  T* copy(const T& value) {
    return new (bytes(sizeof(T))) T(value);
  }

 private:
  static constexpr size_t kChunk{size_t{256} << 10}, kLine{64};

  struct Chunk {
    std::unique_ptr<char[]> memory;
    size_t size;
  };

  void* bytes(size_t count) {
    const size_t rounded = (count + kLine - 1) / kLine * kLine;
    while (chunk_ < chunks_.size() && used_ + rounded > chunks_[chunk_].size) ++chunk_, used_ = 0;
    if (chunk_ == chunks_.size()) {
      const size_t size = std::max(rounded, kChunk);
      chunks_.push_back({std::unique_ptr<char[]>(new char[size + kLine]), size});
      used_ = 0;
    }
    char* start = chunks_[chunk_].memory.get();
    start += (kLine - reinterpret_cast<size_t>(start) % kLine) % kLine;
    char* result = start + used_;
    used_ += rounded;
    return result;
  }

  std::vector<Chunk> chunks_;
  size_t chunk_{}, used_{};
};

}  // namespace latentloop
