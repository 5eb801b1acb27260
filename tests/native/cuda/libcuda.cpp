// A libcuda.so.1 that the host plays, so that packages which drive a GPU can be called as they are.
//
// One device of three multiprocessors. All work is done at once, kernels by the library of ../grid/nearest.cpp that
// the variable LATENTLOOP_TEST_KERNELS names. The driver's rules on contexts, handles and sizes are checked: a call
// that breaks one returns CUDA_ERROR_INVALID_VALUE or _CONTEXT. Every call is written to the file LATENTLOOP_TEST_CALLS
// names.
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

enum Status : int { kSuccess = 0, kInvalidValue = 1, kInvalidContext = 201, kNotFound = 500, kLaunchFailed = 719 };
using Pointer = uint64_t;
using GridLaunch = int(const char*, int64_t, int, int, const void*, uint64_t, char*, size_t);

constexpr int kArgumentBytes{104};
constexpr int kMultiprocessors{3};

struct Device {
  std::map<Pointer, std::unique_ptr<char[]>> memory;
  std::map<Pointer, size_t> sizes;
  std::set<void*> streams, events;
  std::set<std::string> functions;
  std::vector<void*> contexts;  // pushed, the current one last
  int primary_context{0};
};

Device& device() {
  static Device found;
  return found;
}

void called(const char* name) {
  const char* path = std::getenv("LATENTLOOP_TEST_CALLS");
  if (path == nullptr) return;
  if (std::FILE* file = std::fopen(path, "a")) {
    std::fprintf(file, "%s\n", name);
    std::fclose(file);
  }
}

bool in_context() { return !device().contexts.empty(); }

bool is_memory(Pointer at, size_t size) {
  auto after = device().sizes.upper_bound(at);
  if (after == device().sizes.begin()) return false;
  --after;
  return at + size <= after->first + after->second;
}

bool is_stream(void* stream) {
  const auto handle = reinterpret_cast<uintptr_t>(stream);
  return handle <= 2 || device().streams.count(stream) != 0;
}

int allocate(Pointer* out, size_t size) {
  if (!in_context()) return kInvalidContext;
  if (size == 0) return kInvalidValue;
  auto bytes = std::make_unique<char[]>(size + 256);
  std::memset(bytes.get(), 0xfe, size + 256);
  *out = (reinterpret_cast<Pointer>(bytes.get()) + 255) / 256 * 256;
  device().sizes[*out] = size;
  device().memory[*out] = std::move(bytes);
  return kSuccess;
}

int release(Pointer at) {
  if (!in_context()) return kInvalidContext;
  device().sizes.erase(at);
  return device().memory.erase(at) == 1 ? kSuccess : kInvalidValue;
}

int copy(void* to, const void* from, size_t size, Pointer on_device) {
  if (!in_context()) return kInvalidContext;
  if (!is_memory(on_device, size)) return kInvalidValue;
  std::memcpy(to, from, size);
  return kSuccess;
}

template <typename T>
int create(std::set<void*>& all, T** out) {
  if (!in_context()) return kInvalidContext;
  *out = std::malloc(1);
  all.insert(*out);
  return kSuccess;
}

int destroy(std::set<void*>& all, void* handle) {
  if (all.erase(handle) == 0) return kInvalidValue;
  std::free(handle);
  return kSuccess;
}

int function(void** out, const char* name) {
  *out = const_cast<char*>(device().functions.insert(name).first->c_str());
  return kSuccess;
}

void* host(Pointer at) { return reinterpret_cast<void*>(at); }

}  // namespace

#define CUDA(name, ...)                                                             \
  extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__) noexcept; \
  extern "C" int name(__VA_ARGS__) noexcept

CUDA(cuInit, unsigned) { return called("cuInit"), kSuccess; }
CUDA(cuDriverGetVersion, int* version) { return *version = 13000, kSuccess; }
CUDA(cuDeviceGetCount, int* count) { return *count = 1, kSuccess; }
CUDA(cuDeviceGet, int* out, int ordinal) { return *out = ordinal, ordinal == 0 ? kSuccess : kInvalidValue; }
CUDA(cuDeviceGetAttribute, int* out, int attribute, int) {
  return *out = attribute == 16 ? kMultiprocessors : 1, kSuccess;  // 16: MULTIPROCESSOR_COUNT
}

CUDA(cuDevicePrimaryCtxRetain, void** out, int) {
  called("cuDevicePrimaryCtxRetain");
  return *out = &device().primary_context, kSuccess;
}
CUDA(cuDevicePrimaryCtxRelease_v2, int) { return called("cuDevicePrimaryCtxRelease"), kSuccess; }
CUDA(cuCtxGetCurrent, void** out) { return *out = in_context() ? device().contexts.back() : nullptr, kSuccess; }
CUDA(cuCtxGetDevice, int* out) { return *out = 0, in_context() ? kSuccess : kInvalidContext; }
CUDA(cuCtxPushCurrent_v2, void* context) {
  called("cuCtxPushCurrent");
  return device().contexts.push_back(context), kSuccess;
}
CUDA(cuCtxPopCurrent_v2, void** out) {
  called("cuCtxPopCurrent");
  if (!in_context()) return kInvalidContext;
  *out = device().contexts.back();
  device().contexts.pop_back();
  return kSuccess;
}
CUDA(cuCtxSynchronize) { return called("cuCtxSynchronize"), in_context() ? kSuccess : kInvalidContext; }

CUDA(cuPointerGetAttribute, void* out, int attribute, Pointer at) {
  if (attribute != 9 || !is_memory(at, 1)) return kInvalidValue;  // 9: DEVICE_ORDINAL
  return *static_cast<int*>(out) = 0, kSuccess;
}
CUDA(cuMemGetAddressRange_v2, Pointer* base, size_t* size, Pointer at) {
  if (!in_context()) return kInvalidContext;
  if (!is_memory(at, 1)) return kInvalidValue;
  const auto found = std::prev(device().sizes.upper_bound(at));
  return *base = found->first, *size = found->second, kSuccess;
}

CUDA(cuMemAlloc_v2, Pointer* out, size_t size) { return called("cuMemAlloc"), allocate(out, size); }
CUDA(cuMemFree_v2, Pointer at) { return called("cuMemFree"), release(at); }
CUDA(cuMemAllocAsync, Pointer* out, size_t size, void* stream) {
  return called("cuMemAllocAsync"), is_stream(stream) ? allocate(out, size) : kInvalidValue;
}
CUDA(cuMemFreeAsync, Pointer at, void* stream) {
  return called("cuMemFreeAsync"), is_stream(stream) ? release(at) : kInvalidValue;
}
CUDA(cuMemsetD8Async, Pointer at, unsigned char value, size_t size, void* stream) {
  called("cuMemsetD8Async");
  if (!in_context()) return kInvalidContext;
  if (!is_memory(at, size) || !is_stream(stream)) return kInvalidValue;
  return std::memset(host(at), value, size), kSuccess;
}
CUDA(cuMemcpyHtoD_v2, Pointer to, const void* from, size_t size) { return copy(host(to), from, size, to); }
CUDA(cuMemcpyDtoH_v2, void* to, Pointer from, size_t size) {
  return called("cuMemcpyDtoH"), copy(to, host(from), size, from);
}
CUDA(cuMemcpyDtoHAsync_v2, void* to, Pointer from, size_t size, void* stream) {
  return called("cuMemcpyDtoHAsync"), is_stream(stream) ? copy(to, host(from), size, from) : kInvalidValue;
}

CUDA(cuStreamCreate, void** out, unsigned) { return create(device().streams, out); }
CUDA(cuStreamDestroy_v2, void* stream) { return destroy(device().streams, stream); }
CUDA(cuStreamSynchronize, void* stream) {
  return called("cuStreamSynchronize"), is_stream(stream) ? kSuccess : kInvalidValue;
}
CUDA(cuStreamWaitEvent, void* stream, void* event, unsigned) {
  called("cuStreamWaitEvent");
  return is_stream(stream) && device().events.count(event) ? kSuccess : kInvalidValue;
}
CUDA(cuEventCreate, void** out, unsigned) { return called("cuEventCreate"), create(device().events, out); }
CUDA(cuEventRecord, void* event, void* stream) {
  called("cuEventRecord");
  return is_stream(stream) && device().events.count(event) ? kSuccess : kInvalidValue;
}
CUDA(cuEventSynchronize, void* event) {
  return called("cuEventSynchronize"), device().events.count(event) ? kSuccess : kInvalidValue;
}
CUDA(cuEventDestroy_v2, void* event) { return called("cuEventDestroy"), destroy(device().events, event); }

CUDA(cuLibraryLoadData, void** out, const void*, void*, void*, unsigned, void*, void*, unsigned) {
  return called("cuLibraryLoadData"), *out = &device(), kSuccess;
}
CUDA(cuLibraryGetKernel, void** out, void*, const char* name) { return called(name), function(out, name); }
CUDA(cuModuleLoadDataEx, void** out, const void*, unsigned, void*, void**) {
  called("cuModuleLoadDataEx");
  return *out = &device(), in_context() ? kSuccess : kInvalidContext;
}
CUDA(cuModuleGetFunction, void** out, void*, const char* name) { return called(name), function(out, name); }
CUDA(cuModuleUnload, void*) { return kSuccess; }
CUDA(cuFuncSetBlockShape, void*, int, int, int) { return kSuccess; }

CUDA(cuLaunchKernel, void* name, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
     unsigned shared, void* stream, void** parameters, void** extra) {
  called("cuLaunchKernel");
  if (!in_context()) return kInvalidContext;
  if (grid_z != 1 || y != 1 || z != 1 || shared != 0 || !is_stream(stream)) return kInvalidValue;
  if ((parameters == nullptr) == (extra == nullptr)) return kInvalidValue;
  const void* arguments = parameters != nullptr ? parameters[0] : nullptr;
  if (extra != nullptr) {  // the buffer's address under 1, the address of its size under 2, and 0
    if (extra[0] != reinterpret_cast<void*>(1) || extra[2] != reinterpret_cast<void*>(2)) return kInvalidValue;
    if (*static_cast<size_t*>(extra[3]) != kArgumentBytes || extra[4] != nullptr) return kInvalidValue;
    arguments = extra[1];
  }
  const char* path = std::getenv("LATENTLOOP_TEST_KERNELS");
  void* library = path != nullptr ? dlopen(path, RTLD_NOW) : nullptr;
  if (library == nullptr) return kNotFound;
  auto* launch = reinterpret_cast<GridLaunch*>(dlsym(library, "latentloop_grid_launch"));
  char copied[kArgumentBytes], error[1024]{};
  std::memcpy(copied, arguments, sizeof copied);
  const int failed = launch(static_cast<const char*>(name), grid_x, static_cast<int>(grid_y), static_cast<int>(x),
                            copied, 0, error, sizeof error);
  if (failed != 0) called(error);
  return failed == 0 ? kSuccess : kLaunchFailed;
}

CUDA(cuGetErrorString, int, const char** text) { return *text = "as the host plays it", kSuccess; }

CUDA(cuGetProcAddress_v2, const char* symbol, void** out, int, uint64_t, int* found) {
  static void* const self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *out = dlsym(self, (std::string(symbol) + "_v2").c_str());
  if (*out == nullptr) *out = dlsym(self, symbol);
  if (found != nullptr) *found = *out == nullptr ? 1 : 0;
  return *out == nullptr ? kNotFound : kSuccess;
}
