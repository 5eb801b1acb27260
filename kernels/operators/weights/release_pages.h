// Frees the memory of memory-mapped weights that have been packed.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#endif

namespace latentloop {

// Drops the pages within the range from memory if they belong to a private file mapping; the system reads them again
// from the file on the next access. Does nothing for other memory. The pages must not have been written to, which holds
// for ONNX Runtime's constant weights.
inline void release_pages(const void* data, size_t bytes) {
#ifdef __linux__
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (begin >= end) return;
  std::FILE* maps = std::fopen("/proc/self/maps", "r");
  if (maps == nullptr) return;
  char line[4352];  // a path has at most 4096 characters
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    uintptr_t from, to;
    char access[5];
    unsigned long inode;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu", &from, &to, access, &inode) != 4) continue;
    if (from > begin || to < end) continue;
    if (access[3] == 'p' && inode != 0) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    break;
  }
  std::fclose(maps);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace latentloop
