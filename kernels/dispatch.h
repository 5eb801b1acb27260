// Which instruction set's kernels run on this processor.
#pragma once

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace latentloop {

// The best that the processor has; the environment variable LATENTLOOP_INSTRUCTION_SET names another that it has;
// a name that it has not changes nothing.
// Chosen once: packed weights are shared within the process, and each set has panels of its own size.
inline const Kernels& best_kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
    const char* asked = std::getenv("LATENTLOOP_INSTRUCTION_SET");
    const Kernels *best = nullptr, *found = nullptr;
    const auto offer = [&](const Kernels& kernels) {
      best = &kernels;
      if (asked != nullptr && std::strcmp(asked, kernels.name) == 0) found = &kernels;
    };
    offer(kernels_portable());
#ifdef LATENTLOOP_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) offer(kernels_avx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
      offer(kernels_avx512());
#endif
    return found != nullptr ? *found : *best;
  }();
  return chosen;
}

}  // namespace latentloop
