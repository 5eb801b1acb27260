#include "operators.h"

#include <dlfcn.h>
#include <limits.h>
#include <sys/stat.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>

#include "../errors.h"
#include "../libraries/shared_library.h"

namespace latentloop {

namespace {

// Returns the absolute path of the file whose code is at the address, or "". It is the file's own path, not a link's.
std::string mapped_file(const void* address) {
  const std::unique_ptr<FILE, int (*)(FILE*)> maps{std::fopen("/proc/self/maps", "re"), &std::fclose};
  std::array<char, PATH_MAX + 128> line;  // begin-end permissions offset device inode path
  while (maps && std::fgets(line.data(), line.size(), maps.get()) != nullptr) {
    uintptr_t begin = 0, end = 0;
    int path = 0;
    const int fields = std::sscanf(line.data(), "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %n", &begin, &end, &path);
    const auto wanted = reinterpret_cast<uintptr_t>(address);
    if (fields != 2 || wanted < begin || wanted >= end) continue;
    std::string file{line.data() + path};
    if (!file.empty() && file.back() == '\n') file.pop_back();
    return file;
  }
  return "";
}

// Returns the folder of the library or program that contains this code, with a final slash, or "".
std::string own_folder() {
  const auto* address = reinterpret_cast<const void*>(&own_folder);
  Dl_info info;
  std::string file;
  if (dladdr(address, &info) != 0 && info.dli_fname != nullptr) file = info.dli_fname;
  // A relative path is relative to what was the working directory when the file was loaded.
  if (file.compare(0, 1, "/") != 0) file = mapped_file(address);
  return file.substr(0, file.rfind('/') + 1);
}

constexpr const char* kFile{"liblatentloop_operators.so"};

bool exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

}  // namespace

RegisterOperators load_native_operators(std::string& problem) {
  const std::string folder = own_folder();
  if (folder.empty()) return nullptr;  // never the working directory
  std::string path = folder + kFile;
  const size_t package = folder.rfind("/cpp/lib/");  // the Python package has the library in another folder
  if (!exists(path) && package != folder.npos && package + 9 == folder.size())
    path = folder.substr(0, package) + "/kernels/" + kFile;
  if (exists(path)) {
    std::string reason{path + " has no function RegisterCustomOps"};
    void* handle = open_library(path, reason);
    void* function = handle == nullptr ? nullptr : dlsym(handle, "RegisterCustomOps");
    if (function == nullptr) problem = "the native operators cannot be loaded, so graphs run more slowly: " + reason;
    return reinterpret_cast<RegisterOperators>(function);
  }
  problem = text(kFile, " is not in ", folder, ", so graphs run more slowly");
  return nullptr;
}

}  // namespace latentloop
