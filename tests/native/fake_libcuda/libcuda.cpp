// A fake libcuda.so.1 that simulates a GPU on the CPU, for tests of unmodified packages that drive a GPU.
//
// One device with three multiprocessors and compute capability 8.6. Work runs when it is waited for (streams.h).
// Kernels run in the library compiled from ../grid/nearest.cpp, which LATENTLOOP_TEST_KERNELS names. Calls that violate
// the driver's rules for contexts, handles, sizes and captures return an error. LATENTLOOP_TEST_CALLS names a file, to
// which every call is appended.
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "streams.h"

namespace {

using namespace fake_cuda;
using GridLaunch = int(const char*, int64_t, int, int, const void*, uint64_t, char*, size_t);

constexpr int kArgumentBytes{104};
constexpr int kMultiprocessors{3};
constexpr int kCapability[]{8, 6};

int primary_context{0}, image{0};

void log_call(const char* name) {
  const char* path = std::getenv("LATENTLOOP_TEST_CALLS");
  if (path == nullptr) return;
  if (std::FILE* file = std::fopen(path, "a")) {
    std::fprintf(file, "%s\n", name);
    std::fclose(file);
  }
}

// Checks for a call without a stream: it needs a context, and must not disturb a capture.
int check_no_stream() {
  if (!in_context()) return kInvalidContext;
  return disturbs_capture() ? kCaptureUnsupported : kSuccess;
}

int allocate(Memory& memory, Pointer* out, size_t size) {
  if (size == 0) return kInvalidValue;
  return *out = memory.allocate(size), kSuccess;
}

// Frees the memory after all pending work, which may use it.
int release(Memory& memory, Pointer at) {
  if (const int status = check_no_stream()) return status;
  if (!memory.free(at)) return kInvalidValue;
  const int status = run_everything();
  return memory.release(at), status;
}

int copy_synchronously(void* to, const void* from, Range on_device) {
  if (const int status = check_no_stream()) return status;
  if (!device_memory().contains(on_device)) return kInvalidValue;
  if (const int status = synchronize(nullptr)) return status;
  std::memcpy(to, from, on_device.size);
  return kSuccess;
}

int enqueue_copy(void* to, const void* from, size_t size, std::vector<Range> on_device, void* stream) {
  return enqueue(stream, std::move(on_device), [=] { return std::memcpy(to, from, size), kSuccess; });
}

bool is_capturing(void* stream) {
  const auto object = stream_of(stream);
  return object && object->capture;
}

int kernel(void** out, const char* name) {
  static std::set<std::string> names;
  return log_call(name), *out = const_cast<char*>(names.insert(name).first->c_str()), kSuccess;
}

using Arguments = std::array<char, kArgumentBytes>;

int run_kernel(const char* name, unsigned grid_x, unsigned grid_y, unsigned threads, Arguments& arguments) {
  const char* path = std::getenv("LATENTLOOP_TEST_KERNELS");
  void* library = path != nullptr ? dlopen(path, RTLD_NOW) : nullptr;
  if (library == nullptr) return kNotFound;
  auto* launch = reinterpret_cast<GridLaunch*>(dlsym(library, "latentloop_grid_launch"));
  char error[1024]{};
  const int failed = launch(name, grid_x, static_cast<int>(grid_y), static_cast<int>(threads), arguments.data(), 0,
                            error, sizeof error);
  if (failed != 0) log_call(error);
  return failed == 0 ? kSuccess : kLaunchFailed;
}

}  // namespace

#define CUDA(name, ...)                                                             \
  extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__) noexcept; \
  extern "C" int name(__VA_ARGS__) noexcept

CUDA(cuInit, unsigned) { return log_call("cuInit"), kSuccess; }
CUDA(cuDriverGetVersion, int* version) { return *version = 13000, kSuccess; }
CUDA(cuDeviceGetCount, int* count) { return *count = 1, kSuccess; }
CUDA(cuDeviceGet, int* out, int ordinal) { return *out = ordinal, ordinal == 0 ? kSuccess : kInvalidValue; }
CUDA(cuDeviceGetAttribute, int* out, int attribute, int) {
  if (attribute == 16) return *out = kMultiprocessors, kSuccess;
  if (attribute == 75 || attribute == 76) return *out = kCapability[attribute - 75], kSuccess;  // major, minor
  return *out = 1, kSuccess;
}
CUDA(cuDeviceComputeCapability, int* major, int* minor, int) {
  return *major = kCapability[0], *minor = kCapability[1], kSuccess;
}

CUDA(cuDevicePrimaryCtxRetain, void** out, int) {
  return log_call("cuDevicePrimaryCtxRetain"), *out = &primary_context, kSuccess;
}
CUDA(cuDevicePrimaryCtxRelease_v2, int) { return log_call("cuDevicePrimaryCtxRelease"), kSuccess; }
CUDA(cuCtxGetCurrent, void** out) { return *out = in_context() ? contexts().back() : nullptr, kSuccess; }
CUDA(cuCtxGetDevice, int* out) { return *out = 0, in_context() ? kSuccess : kInvalidContext; }
CUDA(cuCtxPushCurrent_v2, void* context) {
  return log_call("cuCtxPushCurrent"), contexts().push_back(context), kSuccess;
}
CUDA(cuCtxPopCurrent_v2, void** out) {
  log_call("cuCtxPopCurrent");
  if (!in_context()) return kInvalidContext;
  *out = contexts().back();
  contexts().pop_back();
  return kSuccess;
}
CUDA(cuCtxSynchronize) {
  log_call("cuCtxSynchronize");
  if (const int status = check_no_stream()) return status;
  return run_everything();
}

CUDA(cuPointerGetAttribute, void* out, int attribute, Pointer at) {
  if (attribute != 9 || !device_memory().contains({at, 1})) return kInvalidValue;  // 9: DEVICE_ORDINAL
  return *static_cast<int*>(out) = 0, kSuccess;
}
CUDA(cuMemGetAddressRange_v2, Pointer* base, size_t* size, Pointer at) {
  if (!in_context()) return kInvalidContext;
  const Range block = device_memory().block({at, 1});
  return *base = block.at, *size = block.size, block.size != 0 ? kSuccess : kInvalidValue;
}

CUDA(cuMemAlloc_v2, Pointer* out, size_t size) {
  log_call("cuMemAlloc");
  if (const int status = check_no_stream()) return status;
  return allocate(device_memory(), out, size);
}
CUDA(cuMemFree_v2, Pointer at) { return log_call("cuMemFree"), release(device_memory(), at); }
CUDA(cuMemHostAlloc, void** out, size_t size, unsigned flags) {
  log_call("cuMemHostAlloc");
  if (const int status = check_no_stream()) return status;
  return flags == 0 ? allocate(page_locked_memory(), reinterpret_cast<Pointer*>(out), size) : kNotSupported;
}
CUDA(cuMemFreeHost, void* at) { return log_call("cuMemFreeHost"), release(page_locked_memory(), address(at)); }

CUDA(cuMemAllocAsync, Pointer* out, size_t size, void* stream) {
  log_call("cuMemAllocAsync");
  if (!in_context()) return kInvalidContext;
  if (!stream_of(stream)) return kInvalidHandle;
  return is_capturing(stream) ? kNotSupported : allocate(device_memory(), out, size);
}
CUDA(cuMemFreeAsync, Pointer at, void* stream) {
  log_call("cuMemFreeAsync");
  if (!in_context()) return kInvalidContext;
  const auto object = stream_of(stream);
  if (!object) return kInvalidHandle;
  if (object->capture || !device_memory().free(at)) return invalidate(*object, kInvalidValue);
  return enqueue(stream, {}, [at] { return device_memory().release(at), kSuccess; });
}
CUDA(cuMemsetD8Async, Pointer at, unsigned char value, size_t size, void* stream) {
  log_call("cuMemsetD8Async");
  return enqueue(stream, {{at, size}}, [=] { return std::memset(host(at), value, size), kSuccess; });
}

CUDA(cuMemcpyHtoD_v2, Pointer to, const void* from, size_t size) {
  return copy_synchronously(host(to), from, {to, size});
}
CUDA(cuMemcpyDtoH_v2, void* to, Pointer from, size_t size) {
  return log_call("cuMemcpyDtoH"), copy_synchronously(to, host(from), {from, size});
}
CUDA(cuMemcpyHtoDAsync_v2, Pointer to, const void* from, size_t size, void* stream) {
  log_call("cuMemcpyHtoDAsync");
  if (is_capturing(stream) || page_locked_memory().contains({address(from), size})) {
    return enqueue_copy(host(to), from, size, {{to, size}}, stream);
  }
  // Pageable memory is copied before the call returns.
  const std::vector<char> staged(static_cast<const char*>(from), static_cast<const char*>(from) + size);
  return enqueue(stream, {{to, size}}, [=] { return std::memcpy(host(to), staged.data(), size), kSuccess; });
}
CUDA(cuMemcpyDtoHAsync_v2, void* to, Pointer from, size_t size, void* stream) {
  log_call("cuMemcpyDtoHAsync");
  if (const int status = enqueue_copy(to, host(from), size, {{from, size}}, stream)) return status;
  const bool is_synchronous = !is_capturing(stream) && !page_locked_memory().contains({address(to), size});
  return is_synchronous ? synchronize(stream) : kSuccess;
}
CUDA(cuMemcpyDtoDAsync_v2, Pointer to, Pointer from, size_t size, void* stream) {
  log_call("cuMemcpyDtoDAsync");
  if (to < from + size && from < to + size) return kInvalidValue;
  return enqueue_copy(host(to), host(from), size, {{to, size}, {from, size}}, stream);
}

CUDA(cuStreamCreate, void** out, unsigned flags) {
  log_call(flags == 1 ? "cuStreamCreate:NON_BLOCKING" : "cuStreamCreate");
  return in_context() ? streams().create(out, Stream{}) : kInvalidContext;
}
CUDA(cuStreamDestroy_v2, void* handle) {
  log_call("cuStreamDestroy");
  if (disturbs_capture()) return kCaptureUnsupported;
  if (const auto stream = streams().find(handle)) run(*stream, stream->work.size());
  return streams().destroy(handle);
}
CUDA(cuStreamSynchronize, void* stream) { return log_call("cuStreamSynchronize"), synchronize(stream); }
CUDA(cuStreamWaitEvent, void* stream, void* event, unsigned) {
  return log_call("cuStreamWaitEvent"), wait(stream, event);
}
CUDA(cuEventCreate, void** out, unsigned) {
  return log_call("cuEventCreate"), in_context() ? events().create(out, Event{}) : kInvalidContext;
}
CUDA(cuEventRecord, void* event, void* stream) { return log_call("cuEventRecord"), record(event, stream); }
CUDA(cuEventSynchronize, void* event) { return log_call("cuEventSynchronize"), synchronize_event(event); }
CUDA(cuEventDestroy_v2, void* event) { return log_call("cuEventDestroy"), events().destroy(event); }

CUDA(cuStreamBeginCapture_v2, void* stream, int mode) {
  log_call("cuStreamBeginCapture");
  return in_context() ? begin_capture(stream, static_cast<Mode>(mode)) : kInvalidContext;
}
CUDA(cuStreamEndCapture, void* stream, void** out) {
  const int status = end_capture(stream, out);
  return log_call(status == kSuccess ? "cuStreamEndCapture:graph" : "cuStreamEndCapture"), status;
}
CUDA(cuThreadExchangeStreamCaptureMode, int* mode) {
  const Mode before = thread_mode();
  thread_mode() = static_cast<Mode>(*mode);
  return *mode = before, kSuccess;
}
CUDA(cuGraphInstantiateWithFlags, void** out, void* handle, uint64_t flags) {
  log_call("cuGraphInstantiate");
  const auto graph = graphs().find(handle);
  if (!graph) return kInvalidHandle;
  return flags == 0 ? executables().create(out, *graph) : kNotSupported;
}
CUDA(cuGraphDestroy, void* graph) { return log_call("cuGraphDestroy"), graphs().destroy(graph); }
CUDA(cuGraphLaunch, void* executable, void* stream) { return log_call("cuGraphLaunch"), launch(executable, stream); }
CUDA(cuGraphExecDestroy, void* executable) {
  log_call("cuGraphExecDestroy");
  return disturbs_capture() ? kCaptureUnsupported : executables().destroy(executable);
}

CUDA(cuLibraryLoadData, void** out, const void*, void*, void*, unsigned, void*, void*, unsigned) {
  return log_call("cuLibraryLoadData"), *out = &image, kSuccess;
}
CUDA(cuLibraryGetKernel, void** out, void*, const char* name) { return kernel(out, name); }
CUDA(cuModuleLoadDataEx, void** out, const void*, unsigned, void*, void**) {
  return log_call("cuModuleLoadDataEx"), *out = &image, in_context() ? kSuccess : kInvalidContext;
}
CUDA(cuModuleGetFunction, void** out, void*, const char* name) { return kernel(out, name); }
CUDA(cuModuleUnload, void*) { return kSuccess; }
CUDA(cuFuncSetBlockShape, void*, int, int, int) { return kSuccess; }

CUDA(cuLaunchKernel, void* name, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
     unsigned shared, void* stream, void** parameters, void** extra) {
  log_call("cuLaunchKernel");
  if (grid_z != 1 || y != 1 || z != 1 || shared != 0) return kInvalidValue;
  if ((parameters == nullptr) == (extra == nullptr)) return kInvalidValue;
  const void* argument = parameters != nullptr ? parameters[0] : nullptr;
  if (extra != nullptr) {  // key 1 and the buffer's address, key 2 and the address of its size, key 0
    if (extra[0] != reinterpret_cast<void*>(1) || extra[2] != reinterpret_cast<void*>(2)) return kInvalidValue;
    if (*static_cast<size_t*>(extra[3]) != kArgumentBytes || extra[4] != nullptr) return kInvalidValue;
    argument = extra[1];
  }
  Arguments arguments;
  std::memcpy(arguments.data(), argument, arguments.size());
  return enqueue(stream, {},
                 [=]() mutable { return run_kernel(static_cast<const char*>(name), grid_x, grid_y, x, arguments); });
}

CUDA(cuGetErrorString, int, const char** text) { return *text = "simulated error", kSuccess; }

CUDA(cuGetProcAddress_v2, const char* symbol, void** out, int, uint64_t, int* status) {
  static void* const self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *out = dlsym(self, (std::string(symbol) + "_v2").c_str());
  if (*out == nullptr) *out = dlsym(self, symbol);
  if (status != nullptr) *status = *out == nullptr ? 1 : 0;
  return *out == nullptr ? kNotFound : kSuccess;
}
