// Accesses of work to ranges of bytes, and the history of accesses, for the detection of races.
#ifndef LATENTLOOP_TESTS_CUDA_ACCESSES_H_
#define LATENTLOOP_TESTS_CUDA_ACCESSES_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scheduler.h"

namespace fake_cuda {

using Pointer = uint64_t;

// A range of bytes that a piece of work reads, or with `writes` reads and writes.
struct Access {
  std::string name;
  Pointer pointer;
  size_t size;
  bool writes{false};
  bool host{false};  // page-locked memory of the host; otherwise memory of the GPU

  Pointer end() const { return pointer + size; }
  bool overlaps(const Access& other) const { return pointer < other.end() && other.pointer < end(); }
};

// The last accesses to each byte of an allocation, as segments of bytes with the same history.
class AccessHistory {
 public:
  explicit AccessHistory(size_t size) : size_(size) { segments_[0] = {}; }

  // Returns the work that must finish before a read of the bytes, or with `writes` a write. Work can repeat.
  std::vector<const Work*> conflicts(size_t first, size_t size, bool writes) const {
    std::vector<const Work*> found;
    if (size == 0) return found;
    for (auto entry = std::prev(segments_.upper_bound(first)); entry != segments_.end() && entry->first < first + size;
         ++entry) {
      const Segment& segment = entry->second;
      if (segment.written) found.push_back(segment.written.get());
      if (!writes) continue;
      for (const auto& [stream, work] : segment.read) found.push_back(work.get());
    }
    return found;
  }

  void add(size_t first, size_t size, bool writes, const std::shared_ptr<const Work>& work) {
    if (size == 0) return;
    split(first);
    split(first + size);
    const auto start = segments_.find(first), stop = segments_.lower_bound(first + size);
    if (writes) {
      segments_.erase(start, stop);
      segments_[first] = {work, {}};
    } else {
      for (auto entry = start; entry != stop; ++entry) entry->second.read[work->stream] = work;
    }
  }

 private:
  struct Segment {
    std::shared_ptr<const Work> written;              // the last write
    std::map<int, std::shared_ptr<const Work>> read;  // each stream's last read since that write
  };

  void split(size_t offset) {
    if (offset >= size_ || segments_.count(offset) == 1) return;
    const Segment before = std::prev(segments_.upper_bound(offset))->second;
    segments_[offset] = before;
  }

  size_t size_;
  std::map<size_t, Segment> segments_;  // by the first byte
};

// Returns accesses to the same bytes with as few ranges as possible. Reads and writes stay separate.
inline std::vector<Access> merge_accesses(const std::vector<Access>& accesses) {
  std::map<std::pair<bool, bool>, std::vector<Access>> kinds;
  for (const Access& access : accesses) kinds[{access.writes, access.host}].push_back(access);
  std::vector<Access> merged;
  for (auto& [kind, ordered] : kinds) {
    std::stable_sort(ordered.begin(), ordered.end(),
                     [](const Access& a, const Access& b) { return a.pointer < b.pointer; });
    Access current = ordered.front();
    for (const Access& access : ordered) {
      if (access.pointer > current.end()) {
        merged.push_back(current);
        current = access;
      } else {
        current.size = std::max(current.end(), access.end()) - current.pointer;
      }
    }
    merged.push_back(current);
  }
  return merged;
}

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_ACCESSES_H_
