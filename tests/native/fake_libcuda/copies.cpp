// Functions of the driver that copy and set memory.
#include <cstring>
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

constexpr const char* kPageable{"pageable copy"};

// Returns whether the bytes are page-locked memory, also of an allocation that was freed. They are then checked.
bool is_page_locked(const void* at) {
  const auto allocation = simulation().allocations.at(address(at));
  return allocation && allocation->kind == MemoryKind::kHost;
}

int copy_synchronously(const std::string& text, void* to, const void* from, Access on_device) {
  if (const int status = check_no_stream(text)) return status;
  const size_t size = on_device.size;
  std::vector<Access> accesses{on_device};
  const void* other = on_device.writes ? from : to;
  if (is_page_locked(other)) accesses.push_back({"the host's array", address(other), size, !on_device.writes, true});
  const auto run = [=] { return std::memcpy(to, from, size), 0; };
  if (const int status = enqueue(text, nullptr, accesses, run, kInvalidValue, Reach::kAllContexts)) return status;
  return synchronize(text, nullptr);
}

int enqueue_copy(const std::string& text, Access to, Access from, void* stream) {
  const auto run = [=] { return std::memcpy(host(to.pointer), host(from.pointer), to.size), 0; };
  return enqueue(text, stream, {from, to}, run, kInvalidValue, Reach::kAllContexts);
}

}  // namespace

CUDA(cuMemsetD8Async, Pointer at, unsigned char value, size_t size, void* stream) {
  CALL("cuMemsetD8Async");
  const auto run = [=] { return std::memset(host(at), value, size), 0; };
  return enqueue(call.text(), stream, {{"the target", at, size, true}}, run, kInvalidValue);
}

CUDA(cuMemcpyHtoD_v2, Pointer to, const void* from, size_t size) {
  CALL("cuMemcpyHtoD");
  return copy_synchronously(call.text(), host(to), from, {"the target", to, size, true});
}
CUDA(cuMemcpyDtoH_v2, void* to, Pointer from, size_t size) {
  CALL("cuMemcpyDtoH");
  return copy_synchronously(call.text(), to, host(from), {"the source", from, size});
}
CUDA(cuMemcpyHtoDAsync_v2, Pointer to, const void* from, size_t size, void* stream) {
  CALL("cuMemcpyHtoDAsync");
  const Access target{"the target", to, size, true};
  if (is_page_locked(from))
    return enqueue_copy(call.text(), target, {"the source", address(from), size, false, true}, stream);
  if (is_capturing(stream)) {
    const auto run = [=] { return std::memcpy(host(to), from, size), 0; };
    return enqueue(call.text(), stream, {target}, run, kInvalidValue, Reach::kAllContexts);
  }
  // Pageable memory is copied before the call returns.
  Calls::get().count(kPageable);
  const std::vector<char> staged(static_cast<const char*>(from), static_cast<const char*>(from) + size);
  const auto run = [=] { return std::memcpy(host(to), staged.data(), size), 0; };
  return enqueue(call.text(), stream, {target}, run, kInvalidValue, Reach::kAllContexts);
}
CUDA(cuMemcpyDtoHAsync_v2, void* to, Pointer from, size_t size, void* stream) {
  CALL("cuMemcpyDtoHAsync");
  const Access source{"the source", from, size};
  if (is_page_locked(to))
    return enqueue_copy(call.text(), {"the target", address(to), size, true, true}, source, stream);
  const auto run = [=] { return std::memcpy(to, host(from), size), 0; };
  if (const int status = enqueue(call.text(), stream, {source}, run, kInvalidValue, Reach::kAllContexts)) return status;
  // Pageable memory has the values when the call returns.
  Calls::get().count(kPageable);
  return is_capturing(stream) ? static_cast<int>(kSuccess) : synchronize(call.text(), stream);
}
CUDA(cuMemcpyDtoDAsync_v2, Pointer to, Pointer from, size_t size, void* stream) {
  CALL("cuMemcpyDtoDAsync");
  const Access source{"the source", from, size}, target{"the target", to, size, true};
  if (source.overlaps(target))
    return simulation().violate("cuMemcpyDtoDAsync: source and target of " + std::to_string(size) + " bytes overlap",
                                kInvalidValue);
  return enqueue_copy(call.text(), target, source, stream);
}
