// Checks that the host does not use page-locked memory during a copy.
#ifndef LATENTLOOP_TESTS_CUDA_PAGE_LOCKED_H_
#define LATENTLOOP_TESTS_CUDA_PAGE_LOCKED_H_

#include <cstring>

#include "simulation.h"

namespace fake_cuda {

// Starts to watch a copy's page-locked memory, when the copy is enqueued. The copy calls the result before it runs.
//
// Poisons the target of a copy, so a host that reads it too early gets wrong values. The result fails if the source or
// the target has changed, or if the memory was freed. If other unfinished work accesses the same bytes, poison and
// comparison are omitted, because that work can be the cause of a change.
inline Run watch_copy(const std::string& text, const Access& access, const std::vector<Access>& accesses,
                      const std::shared_ptr<Allocation>& allocation) {
  const size_t first = access.pointer - allocation->pointer;
  bool is_exclusive = true;
  for (const Work* work : allocation->history.conflicts(first, access.size, access.writes))
    is_exclusive = is_exclusive && simulation().scheduler.host_has_waited_for(*work);
  for (const Access& other : accesses)
    is_exclusive = is_exclusive && !(other.writes != access.writes && access.overlaps(other));
  if (access.writes && is_exclusive) allocation->poison(first, access.size);
  const auto* at = static_cast<const char*>(host(access.pointer));
  std::vector<char> before;
  if (is_exclusive) before.assign(at, at + access.size);

  return [=, before = std::move(before)] {
    if (allocation->freed) return simulation().fail(text + ": " + access.name + " was freed before the copy finished");
    if (!before.empty() && std::memcmp(before.data(), at, before.size()) != 0)
      return simulation().fail(text + ": " + access.name + " changed before the copy finished");
    return static_cast<int>(kSuccess);
  };
}

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_PAGE_LOCKED_H_
