// NVIDIA's driver, loaded from libcuda.so.1 at run time: the functions that are used, with the names, types and numbers
// of cuda.h, which a build does not need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../errors.h"

namespace latentloop::cuda {

using Pointer = uint64_t;  // an address in device memory
using Context = struct ContextOfDriver*;
using StreamHandle = struct StreamOfDriver*;  // null: the legacy default stream
using EventHandle = struct EventOfDriver*;
using GraphHandle = struct GraphOfDriver*;
using ExecutableHandle = struct ExecutableOfDriver*;

enum : int { kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2 };    // CUresult
enum : int { kCapabilityMajor = 75, kCapabilityMinor = 76 };         // CUdevice_attribute
enum : int { kContextOf = 1, kMemoryType = 2, kDeviceOrdinal = 9 };  // CUpointer_attribute
enum : unsigned { kHostMemory = 1, kDeviceMemory = 2 };              // CUmemorytype
enum : unsigned { kNonBlocking = 1, kDisableTiming = 2 };            // CU_STREAM_NON_BLOCKING, CU_EVENT_DISABLE_TIMING
enum : int { kCaptureThreadLocal = 1, kCaptureRelaxed = 2 };         // CUstreamCaptureMode

// A call of the driver failed: LL_OUT_OF_MEMORY or LL_DEVICE.
class Failure : public Error {
 public:
  using Error::Error;
};

[[noreturn]] void fail(const char* function, int status);
void* find_function(void* library, const char* name);  // throws Error (LL_MISSING)

// A function of the driver. Calling it throws Failure if its status is not kSuccess.
template <typename... Parameters>
class Function {
 public:
  Function(void* library, const char* name)
      : name_(name), function_(reinterpret_cast<int (*)(Parameters...)>(find_function(library, name))) {}

  void operator()(Parameters... arguments) const {
    if (const int status = function_(arguments...)) fail(name_, status);
  }

  // Returns the status, for destructors, and for failures that are an answer.
  int status(Parameters... arguments) const noexcept { return function_(arguments...); }

 private:
  const char* name_;
  int (*function_)(Parameters...);
};

class Driver {
 public:
  // Loads and initialises the driver with the first call. Throws Error: LL_MISSING without a driver or a GPU.
  static const Driver& get();

 private:
  explicit Driver(void* opened) : library(opened) {}
  void* const library;

 public:
  // ---- Devices and contexts
  const Function<unsigned> init{library, "cuInit"};
  const Function<int*> device_count{library, "cuDeviceGetCount"};
  const Function<int*, int, int> device_attribute{library, "cuDeviceGetAttribute"};
  const Function<Context*, int> retain_primary{library, "cuDevicePrimaryCtxRetain"};
  const Function<int> release_primary{library, "cuDevicePrimaryCtxRelease_v2"};
  const Function<Context*> current_context{library, "cuCtxGetCurrent"};
  const Function<int*> current_device{library, "cuCtxGetDevice"};
  const Function<Context> push_context{library, "cuCtxPushCurrent_v2"};
  const Function<Context*> pop_context{library, "cuCtxPopCurrent_v2"};

  // ---- Memory
  const Function<Pointer*, size_t, StreamHandle> allocate{library, "cuMemAllocAsync"};
  const Function<Pointer, StreamHandle> free{library, "cuMemFreeAsync"};
  const Function<void**, size_t, unsigned> allocate_host{library, "cuMemHostAlloc"};
  const Function<void*> free_host{library, "cuMemFreeHost"};
  const Function<Pointer, unsigned char, size_t, StreamHandle> fill{library, "cuMemsetD8Async"};
  const Function<Pointer, const void*, size_t, StreamHandle> copy_in{library, "cuMemcpyHtoDAsync_v2"};
  const Function<void*, Pointer, size_t, StreamHandle> copy_out{library, "cuMemcpyDtoHAsync_v2"};
  const Function<Pointer, Pointer, size_t, StreamHandle> copy{library, "cuMemcpyDtoDAsync_v2"};
  const Function<void*, int, Pointer> pointer_attribute{library, "cuPointerGetAttribute"};

  // ---- Streams, events and graphs
  const Function<StreamHandle*, unsigned> create_stream{library, "cuStreamCreate"};
  const Function<StreamHandle> destroy_stream{library, "cuStreamDestroy_v2"};
  const Function<StreamHandle> synchronize_stream{library, "cuStreamSynchronize"};
  const Function<StreamHandle, Context*> context_of_stream{library, "cuStreamGetCtx"};
  const Function<StreamHandle, int*> is_capturing{library, "cuStreamIsCapturing"};
  const Function<StreamHandle, EventHandle, unsigned> wait_event{library, "cuStreamWaitEvent"};
  const Function<EventHandle*, unsigned> create_event{library, "cuEventCreate"};
  const Function<EventHandle> destroy_event{library, "cuEventDestroy_v2"};
  const Function<EventHandle, StreamHandle> record_event{library, "cuEventRecord"};
  const Function<EventHandle> synchronize_event{library, "cuEventSynchronize"};
  const Function<StreamHandle, int> begin_capture{library, "cuStreamBeginCapture_v2"};
  const Function<StreamHandle, GraphHandle*> end_capture{library, "cuStreamEndCapture"};
  const Function<int*> exchange_capture_mode{library, "cuThreadExchangeStreamCaptureMode"};
  const Function<ExecutableHandle*, GraphHandle, unsigned long long> instantiate{library,
                                                                                 "cuGraphInstantiateWithFlags"};
  const Function<GraphHandle> destroy_graph{library, "cuGraphDestroy"};
  const Function<ExecutableHandle, StreamHandle> launch_graph{library, "cuGraphLaunch"};
  const Function<ExecutableHandle> destroy_executable{library, "cuGraphExecDestroy"};
};

}  // namespace latentloop::cuda
