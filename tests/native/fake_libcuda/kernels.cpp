// Functions of the driver for kernels, which run in the library that LATENTLOOP_TEST_KERNELS names.
#include <dlfcn.h>

#include <array>
#include <cstring>
#include <set>
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;
using GridLaunch = int(const char*, int64_t, int, int, const void*, uint64_t, char*, size_t);

constexpr int kArgumentBytes{104};
using Arguments = std::array<char, kArgumentBytes>;

int image{0};

int kernel(void** out, const char* name) {
  static std::set<std::string> names;
  return log_call(name), *out = const_cast<char*>(names.insert(name).first->c_str()), kSuccess;
}

int run_kernel(const char* name, unsigned grid_x, unsigned grid_y, unsigned threads, Arguments& arguments) {
  const char* path = std::getenv("LATENTLOOP_TEST_KERNELS");
  void* library = path != nullptr ? dlopen(path, RTLD_NOW) : nullptr;
  if (library == nullptr) return kNotFound;
  auto* launch = reinterpret_cast<GridLaunch*>(dlsym(library, "latentloop_grid_launch"));
  char error[1024]{};
  const int failed = launch(name, grid_x, static_cast<int>(grid_y), static_cast<int>(threads), arguments.data(), 0,
                            error, sizeof error);
  return failed == 0 ? static_cast<int>(kSuccess) : simulation().fail(std::string(name) + ": " + error);
}

}  // namespace

CUDA(cuLibraryLoadData, void** out, const void*, void*, void*, unsigned, void*, void*, unsigned) {
  CALL("cuLibraryLoadData");
  return *out = &image, kSuccess;
}
CUDA(cuLibraryGetKernel, void** out, void*, const char* name) {
  CALL("cuLibraryGetKernel");
  return kernel(out, name);
}
CUDA(cuModuleLoadDataEx, void** out, const void*, unsigned, void*, void**) {
  CALL("cuModuleLoadDataEx");
  return *out = &image, check_context(call.text());
}
CUDA(cuModuleGetFunction, void** out, void*, const char* name) {
  CALL("cuModuleGetFunction");
  return kernel(out, name);
}
CUDA(cuModuleUnload, void*) { return kSuccess; }
CUDA(cuFuncSetBlockShape, void*, int, int, int) { return kSuccess; }

CUDA(cuLaunchKernel, void* name, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
     unsigned shared, void* stream, void** parameters, void** extra) {
  CALL("cuLaunchKernel");
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
  // The memory that a kernel accesses is not known.
  const auto run = [=]() mutable { return run_kernel(static_cast<const char*>(name), grid_x, grid_y, x, arguments); };
  return enqueue(call.text(), stream, {}, run, kInvalidValue);
}

CUDA(cuGetErrorString, int, const char** text) { return *text = "simulated error", kSuccess; }

CUDA(cuGetErrorName, int status, const char** text) {
  struct Name {
    int status;
    const char* name;
  };
  static constexpr Name kNames[]{
      {0, "CUDA_SUCCESS"},
      {1, "CUDA_ERROR_INVALID_VALUE"},
      {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {3, "CUDA_ERROR_NOT_INITIALIZED"},
      {100, "CUDA_ERROR_NO_DEVICE"},
      {101, "CUDA_ERROR_INVALID_DEVICE"},
      {201, "CUDA_ERROR_INVALID_CONTEXT"},
      {400, "CUDA_ERROR_INVALID_HANDLE"},
      {500, "CUDA_ERROR_NOT_FOUND"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED"},
      {719, "CUDA_ERROR_LAUNCH_FAILED"},
      {801, "CUDA_ERROR_NOT_SUPPORTED"},
      {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
      {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
      {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"},
      {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION"},
      {907, "CUDA_ERROR_CAPTURED_EVENT"},
      {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"},
  };
  for (const Name& each : kNames) {
    if (each.status == status) return *text = each.name, kSuccess;
  }
  return *text = nullptr, kInvalidValue;
}

CUDA(cuGetProcAddress_v2, const char* symbol, void** out, int, uint64_t, int* status) {
  static void* const self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *out = dlsym(self, (std::string(symbol) + "_v2").c_str());
  if (*out == nullptr) *out = dlsym(self, symbol);
  if (status != nullptr) *status = *out == nullptr ? 1 : 0;
  return *out == nullptr ? kNotFound : kSuccess;
}
