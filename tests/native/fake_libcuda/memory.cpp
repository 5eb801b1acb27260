// Functions of the driver that allocate and free memory, and what it tells of a pointer.
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

int allocate(MemoryKind kind, Pointer* out, size_t size) {
  if (size == 0) return kInvalidValue;
  return *out = simulation().allocations.add(size, kind, current())->pointer, kSuccess;
}

// Sets `found` to the allocation that starts at the address.
int find_allocation(const std::string& text, Pointer at, MemoryKind kind, std::shared_ptr<Allocation>& found) {
  found = simulation().allocations.at(at);
  if (!found || found->pointer != at || found->kind != kind)
    return simulation().violate(text + ": the memory was never allocated", kInvalidValue);
  if (found->freed) return simulation().violate(text + ": the memory was freed before", kInvalidValue);
  if (found->context->destroyed)
    return simulation().violate(text + ": the context of the memory was destroyed", kContextIsDestroyed);
  return kSuccess;
}

int check_guards(const std::string& text, const Allocation& allocation) {
  return allocation.guards_are_intact() ? static_cast<int>(kSuccess)
                                        : simulation().fail(text + ": a write outside an allocation");
}

// Frees memory at once.
int release(const std::string& text, Allocation& allocation) {
  allocation.freed = true;
  const int status = check_guards(text, allocation);
  return allocation.poison(), status;
}

}  // namespace

CUDA(cuMemAlloc_v2, Pointer* out, size_t size) {
  CALL("cuMemAlloc");
  if (const int status = check_no_stream(call.text())) return status;
  return allocate(MemoryKind::kDevice, out, size);
}
CUDA(cuMemFree_v2, Pointer at) {
  CALL("cuMemFree");
  if (const int status = check_no_stream(call.text())) return status;
  std::shared_ptr<Allocation> allocation;
  if (const int status = find_allocation(call.text(), at, MemoryKind::kDevice, allocation)) return status;
  const int status = wait_for_everything();  // as the driver does
  const int released = release(call.text(), *allocation);
  return status == kSuccess ? released : status;
}

CUDA(cuMemAllocAsync, Pointer* out, size_t size, void* handle) {
  CALL("cuMemAllocAsync");
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(call.text(), handle, stream)) return status;
  if (stream->capture)
    return invalidate(*stream, simulation().violate("cuMemAllocAsync in a capture is not simulated", kNotSupported));
  if (const int status = allocate(MemoryKind::kDevice, out, size)) return status;
  return enqueue("cuMemAllocAsync", handle, {{"the allocation", *out, size, true}}, [] { return 0; }, kInvalidValue);
}
CUDA(cuMemFreeAsync, Pointer at, void* handle) {
  CALL("cuMemFreeAsync");
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(call.text(), handle, stream)) return status;
  std::shared_ptr<Allocation> found;
  if (const int status = find_allocation(call.text(), at, MemoryKind::kDevice, found))
    return invalidate(*stream, status);
  if (stream->capture)
    return invalidate(*stream, simulation().violate("cuMemFreeAsync in a capture is not simulated", kInvalidValue));
  const auto run = [found] {
    const int status = check_guards("cuMemFreeAsync", *found);
    return found->poison(), status;
  };
  if (const int status =
          enqueue("cuMemFreeAsync", handle, {{"the allocation", at, found->size, true}}, run, kInvalidValue))
    return status;
  return found->freed = true, kSuccess;
}

CUDA(cuMemHostAlloc, void** out, size_t size, unsigned flags) {
  CALL("cuMemHostAlloc");
  if (const int status = check_no_stream(call.text())) return status;
  if (flags != 0) return kNotSupported;
  Pointer at = 0;
  const int status = allocate(MemoryKind::kHost, &at, size);
  return *out = host(at), status;
}
CUDA(cuMemFreeHost, void* at) {
  CALL("cuMemFreeHost");
  if (const int status = check_no_stream(call.text())) return status;
  std::shared_ptr<Allocation> allocation;
  if (const int status = find_allocation(call.text(), address(at), MemoryKind::kHost, allocation)) return status;
  if (const int status = check_unused(call.text(), *allocation)) return allocation->freed = true, status;
  return release(call.text(), *allocation);
}

CUDA(cuPointerGetAttribute, void* out, int attribute, Pointer at) {
  CALL("cuPointerGetAttribute");
  const auto allocation = simulation().allocations.at(at);
  if (!allocation || allocation->freed || allocation->context->destroyed) return kInvalidValue;
  if (attribute == 1) return *static_cast<void**>(out) = allocation->context.get(), kSuccess;  // CONTEXT
  if (attribute == 2) {                                                                        // MEMORY_TYPE
    *static_cast<unsigned*>(out) = allocation->kind == MemoryKind::kHost ? 1 : 2;
    return kSuccess;
  }
  if (attribute != 9) return kInvalidValue;
  return *static_cast<int*>(out) = allocation->context->device, kSuccess;  // DEVICE_ORDINAL
}
CUDA(cuMemGetAddressRange_v2, Pointer* base, size_t* size, Pointer at) {
  CALL("cuMemGetAddressRange");
  if (const int status = check_context(call.text())) return status;
  const auto allocation = simulation().allocations.at(at);
  if (!allocation || allocation->freed || allocation->kind == MemoryKind::kHost) return kInvalidValue;
  return *base = allocation->pointer, *size = allocation->size, kSuccess;
}

extern "C" uint64_t fake_cuda_reserve(size_t size) noexcept {
  const Call call("cudaMalloc");
  Pointer at = 0;
  if (call.status() == kSuccess && check_context("a library's allocation") == kSuccess)
    allocate(MemoryKind::kInternal, &at, size);
  return at;
}

extern "C" void fake_cuda_release(const char* text, uint64_t pointer) noexcept {
  const std::lock_guard lock{simulation().mutex};
  std::shared_ptr<Allocation> allocation;
  if (find_allocation(text, pointer, MemoryKind::kInternal, allocation) != kSuccess) return;
  if (check_unused(text, *allocation) == kSuccess) release(text, *allocation);
  allocation->freed = true;
}
