// The functions of fake_cuda.h for tests, and those for work of libraries.
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

template <typename T>
int live(const Handles<T>& handles) {
  int count = 0;
  for (const auto& [handle, object] : handles.all()) count += !object->destroyed && !object->context->destroyed;
  return count;
}

template <typename T>
int abandoned(const Handles<T>& handles) {
  int count = 0;
  for (const auto& [handle, object] : handles.all()) count += !object->destroyed && object->context->destroyed;
  return count;
}

int live_allocations(MemoryKind kind) {
  int count = 0;
  for (const auto& [at, allocation] : simulation().allocations.all())
    count += allocation->kind == kind && !allocation->freed && !allocation->context->destroyed;
  return count;
}

int abandoned_allocations() {
  int count = 0;
  for (const auto& [at, allocation] : simulation().allocations.all())
    count += !allocation->freed && allocation->context->destroyed;
  return count;
}

int primary_contexts() {
  int count = 0;
  for (const auto& [device, context] : simulation().primary) count += context ? context->retained : 0;
  return count;
}

int created_contexts() {
  int count = 0;
  for (const auto& [handle, context] : simulation().contexts.all()) {
    const auto primary = simulation().primary.find(context->device);
    const bool is_primary = primary != simulation().primary.end() && primary->second == context;
    count += !context->destroyed && !is_primary;
  }
  return count;
}

}  // namespace

extern "C" {

const char* fake_cuda_violation() noexcept {
  static thread_local auto* copied = new std::string;  // also there when the thread or the process ends
  const std::lock_guard lock{simulation().mutex};
  *copied = simulation().violation;
  return copied->c_str();
}

void fake_cuda_reset() noexcept {
  const std::lock_guard lock{simulation().mutex};
  simulation().violation.clear();
  simulation().failure = kSuccess;
  Calls::get().reset();
}

int fake_cuda_finish() noexcept {
  const std::lock_guard lock{simulation().mutex};
  wait_for_everything();
  for (const auto& [at, allocation] : simulation().allocations.all()) {
    if (!allocation->guards_are_intact()) simulation().fail("at the end: a write outside an allocation");
  }
  return simulation().failure;
}

int fake_cuda_live(const char* kind) noexcept {
  const std::lock_guard lock{simulation().mutex};
  Simulation& all = simulation();
  const std::string name{kind};
  if (name == "streams") return live(all.streams);
  if (name == "events") return live(all.events);
  if (name == "graphs") return live(all.graphs);
  if (name == "executables") return live(all.executables);
  if (name == "device") return live_allocations(MemoryKind::kDevice);
  if (name == "host") return live_allocations(MemoryKind::kHost);
  if (name == "internal") return live_allocations(MemoryKind::kInternal);
  if (name == "contexts") return static_cast<int>(thread().contexts.size());
  if (name == "primary") return primary_contexts();
  if (name == "created") return created_contexts();
  if (name == "abandoned")
    return abandoned(all.streams) + abandoned(all.events) + abandoned(all.graphs) + abandoned(all.executables) +
           abandoned_allocations();
  return -1;
}

int64_t fake_cuda_calls(const char* function) noexcept {
  const std::lock_guard lock{simulation().mutex};
  return Calls::get().counted(function);
}

void fake_cuda_fail(const char* function, int64_t call, int status) noexcept {
  const std::lock_guard lock{simulation().mutex};
  Calls::get().fail(function, call, status);
}

void fake_cuda_violate(const char* text) noexcept {
  const std::lock_guard lock{simulation().mutex};
  simulation().fail(text);
}

int fake_cuda_enqueue(const char* text, void* stream, const FakeCudaAccess* accesses, size_t count, int (*run)(void*),
                      void* user, void (*release)(void*)) noexcept {
  const std::shared_ptr<void> owner{user, release};
  const std::lock_guard lock{simulation().mutex};
  std::vector<Access> all;
  for (size_t i = 0; i < count; ++i)
    all.push_back({accesses[i].name, accesses[i].pointer, accesses[i].size, accesses[i].writes != 0, false});
  for (const Access& access : all) {
    for (const Access& other : all) {
      if (&access != &other && access.writes && access.overlaps(other))
        return simulation().fail(std::string(text) + ": " + access.name + " and " + other.name +
                                 " overlap, and at least one is an output");
    }
  }
  // Text, not a status: the caller need not have checked the memory.
  const int status = enqueue(text, stream, std::move(all), [owner, run] { return run(owner.get()); }, kIllegalAddress);
  if (status == kIllegalAddress) simulation().failure = status;
  return status;
}

int fake_cuda_is_capturing(void* stream) noexcept {
  const std::lock_guard lock{simulation().mutex};
  return is_capturing(stream);
}

void fake_cuda_invalidate_capture(void* handle) noexcept {
  const std::lock_guard lock{simulation().mutex};
  if (const auto stream = simulation().streams.find(handle)) invalidate(*stream, kCaptureUnsupported);
}

}  // extern "C"
