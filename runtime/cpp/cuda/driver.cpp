#include "driver.h"

#include <dlfcn.h>

#include <mutex>

#include "../libraries/shared_library.h"

namespace latentloop::cuda {

namespace {

constexpr const char* kLibrary{"libcuda.so.1"};

// Returns the driver's name of a status, such as CUDA_ERROR_OUT_OF_MEMORY.
std::string name_of(int status) {
  using GetName = int (*)(int, const char**);
  void* handle = dlopen(kLibrary, RTLD_NOW | RTLD_NOLOAD);
  const auto get_name = handle == nullptr ? nullptr : reinterpret_cast<GetName>(dlsym(handle, "cuGetErrorName"));
  const char* name = nullptr;
  if (get_name == nullptr || get_name(status, &name) != kSuccess || name == nullptr) return text("status ", status);
  return name;
}

}  // namespace

void fail(const char* function, int status) {
  std::string name{function};
  if (const size_t version = name.rfind("_v"); version != name.npos) name.resize(version);  // as programs call it
  throw Failure(status == kOutOfMemory ? LL_OUT_OF_MEMORY : LL_DEVICE, text(name, ": ", name_of(status)));
}

void* find_function(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == nullptr)
    throw Error(LL_MISSING, text("NVIDIA's driver has no ", name, ": install a newer one, for CUDA 12 at least"));
  return function;
}

const Driver& Driver::get() {
  static auto* mutex = new std::mutex;
  static const Driver* loaded = nullptr;  // never destroyed: samplers may end during the end of the process
  const std::lock_guard lock{*mutex};
  if (loaded != nullptr) return *loaded;
  std::string problem;
  void* library = open_library(kLibrary, problem);
  if (library == nullptr) throw Error(LL_MISSING, text("no NVIDIA driver here: ", problem));
  auto* driver = new Driver(library);
  try {
    driver->init(0);
  } catch (const Failure& failure) {
    delete driver;
    throw Error(LL_MISSING, text("NVIDIA's driver does not start: ", failure.what()));
  }
  loaded = driver;
  return *loaded;
}

}  // namespace latentloop::cuda
