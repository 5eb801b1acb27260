// The kernels of one instruction set. This file is compiled once per set, with LATENTLOOP_VECTOR_BYTES,
// LATENTLOOP_KERNELS (the name of the function below) and LATENTLOOP_NAME (the name of the set) defined. It must not
// use the C++ library; gemm/simd.h explains why.
#include "causal_conv/above.h"
#include "kernels.h"
#include "nearest_codebook/cpu/search.h"
#include "steps/run.h"

namespace latentloop {

const Kernels& LATENTLOOP_KERNELS() {
  static constexpr Kernels kernels{LATENTLOOP_NAME,          kPanel,     {above_items, above},
                                   {nearest_items, nearest}, step_items, step_item};
  return kernels;
}

}  // namespace latentloop
