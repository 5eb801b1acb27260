// The choice of the instruction set whose kernels run on this processor.
#pragma once

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace latentloop {

// Returns the kernels of the best instruction set that the processor supports, or of the one that the environment
// variable LATENTLOOP_INSTRUCTION_SET names. A name that this processor or build does not support is ignored.
// Decided once per process: operators share packed weights, and the panel size depends on the instruction set.
inline const Kernels& best_kernels() {
  static const Kernels& selected = []() -> const Kernels& {
    const char* requested = std::getenv("LATENTLOOP_INSTRUCTION_SET");
    const Kernels *best = nullptr, *match = nullptr;
    const auto offer = [&](const Kernels& kernels) {
      best = &kernels;
      if (requested != nullptr && std::strcmp(requested, kernels.name) == 0) match = &kernels;
    };
    offer(kernels_portable());
#ifdef LATENTLOOP_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) offer(kernels_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      offer(kernels_avx512());
      if (__builtin_cpu_supports("avx512vbmi")) offer(kernels_avx512vbmi());
    }
#endif
    return match != nullptr ? *match : *best;
  }();
  return selected;
}

}  // namespace latentloop
