// Which instruction set's kernels run on this processor.
#pragma once

#include "kernels.h"

namespace latentloop {

#ifdef LATENTLOOP_X86
inline const Kernels& best_kernels() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    return kernels_avx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kernels_avx2();
  return kernels_portable();
}
#else
inline const Kernels& best_kernels() { return kernels_portable(); }
#endif

}  // namespace latentloop
