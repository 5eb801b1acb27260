#include "operators.h"

#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "../errors.h"
#include "shared_library.h"

namespace latentloop {

namespace {

// Returns the folder of the library or program that contains this code, with a final slash.
std::string own_folder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) return "";
  std::string file{info.dli_fname};
  if (file.find('/') == file.npos) {  // a program that was found in PATH
    std::array<char, PATH_MAX> program;
    const ssize_t size = readlink("/proc/self/exe", program.data(), program.size());
    file.assign(program.data(), static_cast<size_t>(std::max(size, ssize_t{0})));
  }
  return file.substr(0, file.rfind('/') + 1);
}

bool exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

}  // namespace

RegisterOperators load_native_operators(std::string& problem) {
  const std::string folder = own_folder();
  if (folder.empty()) return nullptr;  // never the working directory
  // Beside this library, and where the Python package has it.
  for (const char* place : {"liblatentloop_operators.so", "../../kernels/liblatentloop_operators.so"}) {
    const std::string path = folder + place;
    if (!exists(path)) continue;
    problem = path + " has no function RegisterCustomOps";
    void* handle = open_library(path, problem);
    void* function = handle == nullptr ? nullptr : dlsym(handle, "RegisterCustomOps");
    if (function == nullptr) problem = "the native operators cannot be loaded, so graphs run more slowly: " + problem;
    return reinterpret_cast<RegisterOperators>(function);
  }
  problem = text("liblatentloop_operators.so is not in ", folder, ", so graphs run more slowly");
  return nullptr;
}

}  // namespace latentloop
