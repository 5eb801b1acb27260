// Functions of the driver for devices and contexts.
#include <algorithm>
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

constexpr int kMultiprocessors{3};

int devices() { return number_of("LATENTLOOP_TEST_DEVICES", 1); }

// Returns the compute capability, 86 for 8.6.
int capability() {
  const char* value = std::getenv("LATENTLOOP_TEST_CAPABILITY");
  int major = 8, minor = 6;
  if (value != nullptr && std::sscanf(value, "%d.%d", &major, &minor) != 2) return 0;
  return 10 * major + minor;
}

bool is_device(int ordinal) { return ordinal >= 0 && ordinal < devices(); }

// Ends a context: what belongs to it cannot be used any more.
int end(const std::shared_ptr<Context>& context) {
  const int status = wait_for_everything();
  context->destroyed = true;
  return status;
}

}  // namespace

CUDA(cuInit, unsigned) {
  CALL("cuInit");
  if (devices() == 0) return kNoDevice;
  return simulation().initialized = true, kSuccess;
}
CUDA(cuDriverGetVersion, int* version) {
  CALL("cuDriverGetVersion");
  return *version = number_of("LATENTLOOP_TEST_DRIVER", 13000), kSuccess;
}
CUDA(cuDeviceGetCount, int* count) {
  CALL("cuDeviceGetCount");
  return *count = devices(), kSuccess;
}
CUDA(cuDeviceGet, int* out, int ordinal) {
  CALL("cuDeviceGet");
  return *out = ordinal, is_device(ordinal) ? kSuccess : kInvalidDevice;
}
CUDA(cuDeviceGetAttribute, int* out, int attribute, int device) {
  CALL("cuDeviceGetAttribute");
  if (!is_device(device)) return kInvalidDevice;
  *out = attribute == 16   ? kMultiprocessors
         : attribute == 75 ? capability() / 10
         : attribute == 76 ? capability() % 10
                           : 1;
  return kSuccess;
}
CUDA(cuDeviceGetName, char* name, int size, int device) {
  CALL("cuDeviceGetName");
  if (!is_device(device)) return kInvalidDevice;
  std::snprintf(name, static_cast<std::size_t>(size), "Simulated GPU");
  return kSuccess;
}
CUDA(cuDeviceComputeCapability, int* major, int* minor, int device) {
  CALL("cuDeviceComputeCapability");
  return *major = capability() / 10, *minor = capability() % 10, is_device(device) ? kSuccess : kInvalidDevice;
}

CUDA(cuDevicePrimaryCtxRetain, void** out, int device) {
  CALL("cuDevicePrimaryCtxRetain");
  if (!is_device(device)) return kInvalidDevice;
  auto& context = simulation().primary[device];
  void* handle = context.get();
  if (!context || context->destroyed) {
    context = simulation().contexts.create(&handle, Context{});
    context->device = device;
  }
  ++context->retained;
  return *out = handle, kSuccess;
}
CUDA(cuDevicePrimaryCtxRelease_v2, int device) {
  CALL("cuDevicePrimaryCtxRelease");
  const auto context = simulation().primary[device];
  if (!context || context->destroyed)
    return simulation().violate("cuDevicePrimaryCtxRelease: not retained", kInvalidContext);
  return --context->retained == 0 ? end(context) : static_cast<int>(kSuccess);
}

CUDA(cuCtxCreate_v2, void** out, unsigned, int device) {
  CALL("cuCtxCreate");
  if (!is_device(device)) return kInvalidDevice;
  const auto context = simulation().contexts.create(out, Context{});
  context->device = device;
  thread().contexts.push_back(context);
  return kSuccess;
}
CUDA(cuCtxDestroy_v2, void* handle) {
  CALL("cuCtxDestroy");
  const auto context = simulation().contexts.find(handle);
  if (!context || context->destroyed || context->retained != 0) return kInvalidContext;
  if (current() == context) thread().contexts.pop_back();
  return end(context);
}
CUDA(cuCtxGetCurrent, void** out) {
  CALL("cuCtxGetCurrent");
  return *out = current().get(), kSuccess;
}
CUDA(cuCtxSetCurrent, void* handle) {
  CALL("cuCtxSetCurrent");
  const auto context = simulation().contexts.find(handle);
  if (handle != nullptr && (!context || context->destroyed)) return kInvalidContext;
  if (current()) thread().contexts.pop_back();
  if (context) thread().contexts.push_back(context);
  return kSuccess;
}
CUDA(cuCtxGetDevice, int* out) {
  CALL("cuCtxGetDevice");
  return *out = current() ? current()->device : 0, current() ? kSuccess : kInvalidContext;
}
CUDA(cuCtxPushCurrent_v2, void* handle) {
  CALL("cuCtxPushCurrent");
  const auto context = simulation().contexts.find(handle);
  if (!context) return simulation().violate("cuCtxPushCurrent: there is no such context", kInvalidContext);
  if (context->destroyed) return simulation().violate("cuCtxPushCurrent: the context was destroyed", kInvalidContext);
  return thread().contexts.push_back(context), kSuccess;
}
CUDA(cuCtxPopCurrent_v2, void** out) {
  CALL("cuCtxPopCurrent");
  if (!current()) return simulation().violate("cuCtxPopCurrent: no context is current", kInvalidContext);
  if (out != nullptr) *out = current().get();
  return thread().contexts.pop_back(), kSuccess;
}
CUDA(cuCtxSynchronize) {
  CALL("cuCtxSynchronize");
  if (const int status = check_no_stream(call.text())) return status;
  std::vector<int> streams;
  if (current()->legacy) streams.push_back(current()->legacy->number);
  for (const auto& [id, stream] : current()->per_thread) streams.push_back(stream->number);
  for (const auto& [handle, stream] : simulation().streams.all()) {
    if (stream->context == current()) streams.push_back(stream->number);
  }
  return host_waits(simulation().scheduler.record_all(streams));
}

extern "C" int fake_cuda_capability() noexcept { return current() ? capability() : 0; }
