#include "shared_library.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "../errors.h"

namespace latentloop {

namespace {

// Returns why the file cannot be a library, or "". The loader would crash on a truncated file.
std::string problem_of(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return std::strerror(errno);
  if (!S_ISREG(status.st_mode)) return "not a file";  // opening a pipe would block
  const std::unique_ptr<FILE, int (*)(FILE*)> file{std::fopen(path.c_str(), "rbe"), &std::fclose};
  if (!file) return std::strerror(errno);
  Elf64_Ehdr header;
  if (std::fread(&header, sizeof header, 1, file.get()) != 1 || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64)
    return "not a shared library of this system";
  const uint64_t end = header.e_shoff + uint64_t{header.e_shentsize} * header.e_shnum;
  const auto size = static_cast<uint64_t>(status.st_size);
  return size < end ? text("truncated, ", size, " of ", end, " bytes") : "";
}

}  // namespace

void* open_library(const std::string& path, std::string& problem) {
  const std::string unusable = path.find('/') == std::string::npos ? "" : problem_of(path);
  if (!unusable.empty()) {
    problem = text(path, ": ", unusable);
    return nullptr;
  }
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    problem = reason == nullptr ? path : reason;
  }
  return handle;
}

}  // namespace latentloop
