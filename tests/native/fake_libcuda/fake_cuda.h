// What the simulated GPU offers beside the driver's functions: to fakes of libraries that enqueue work, and to tests.
//
// A violation is an error of the tested program that on a real GPU leads to wrong results or a crash: a race, a use of
// freed or foreign memory, an access outside an allocation. The text of the first one is kept.
#ifndef LATENTLOOP_TESTS_CUDA_FAKE_CUDA_H_
#define LATENTLOOP_TESTS_CUDA_FAKE_CUDA_H_

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

#define FAKE_CUDA_EXPORT __attribute__((visibility("default")))

extern "C" {

// A range of bytes that a piece of work reads, or with `writes` reads and writes.
struct FakeCudaAccess {
  const char* name;
  uint64_t pointer;
  uint64_t size;
  int writes;
};

// ---- For tests.

FAKE_CUDA_EXPORT const char*
fake_cuda_violation() noexcept;  // "" if there is none; valid until this thread's next call
FAKE_CUDA_EXPORT void
fake_cuda_reset() noexcept;  // forgets the violation, the failure, the counts and planned failures
// Runs all work, checks all guards. Returns 0, or the status of the failure.
FAKE_CUDA_EXPORT int fake_cuda_finish() noexcept;
// The number of streams, events, graphs, executables; allocations of "device" and page-locked "host" memory, and those
// of libraries ("internal"); "contexts" that the calling thread has pushed; "primary" contexts retained and not
// released; "created" contexts; objects and allocations that were "abandoned" to the end of their context.
FAKE_CUDA_EXPORT int fake_cuda_live(const char* kind) noexcept;
// The number of calls of a function, named without "_v2"; of "pageable copy": asynchronous copies of memory that is not
// page-locked, for which the host waits.
FAKE_CUDA_EXPORT int64_t fake_cuda_calls(const char* function) noexcept;
// Makes the `call`-th call from now on return a status, 1 for the next; 0 for all calls. The environment variable
// LATENTLOOP_TEST_FAILURES does so for a whole process: "cuMemAllocAsync:3:2,cuGraphLaunch:1:700".
FAKE_CUDA_EXPORT void fake_cuda_fail(const char* function, int64_t call, int status) noexcept;

// ---- For fakes of libraries.

FAKE_CUDA_EXPORT void fake_cuda_violate(const char* text) noexcept;
// Enqueues or captures work like a kernel's. `run` returns a status; it may use the memory of the accesses, and runs
// again with every launch of a graph. `release` is called when `user` is not needed any more. Returns a status.
FAKE_CUDA_EXPORT int fake_cuda_enqueue(const char* text, void* stream, const struct FakeCudaAccess* accesses,
                                       size_t count, int (*run)(void* user), void* user,
                                       void (*release)(void* user)) noexcept;
FAKE_CUDA_EXPORT int fake_cuda_is_capturing(void* stream) noexcept;
FAKE_CUDA_EXPORT void fake_cuda_invalidate_capture(void* stream) noexcept;
FAKE_CUDA_EXPORT int fake_cuda_capability() noexcept;  // of the current device, 86 for 8.6; 0 without a current context
// Allocates memory for a library in the current context, without a stream; 0 without a current context.
FAKE_CUDA_EXPORT uint64_t fake_cuda_reserve(size_t size) noexcept;
FAKE_CUDA_EXPORT void fake_cuda_release(const char* text, uint64_t pointer) noexcept;  // no work may use it any more

}  // extern "C"

namespace fake_cuda {

inline int enqueue_work(const std::string& text, void* stream, const std::vector<FakeCudaAccess>& accesses,
                        std::function<int()> run) {
  using Run = std::function<int()>;
  return fake_cuda_enqueue(
      text.c_str(), stream, accesses.data(), accesses.size(), [](void* user) { return (*static_cast<Run*>(user))(); },
      new Run(std::move(run)), [](void* user) { delete static_cast<Run*>(user); });
}

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_FAKE_CUDA_H_
