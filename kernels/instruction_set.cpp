// The kernels of one instruction set. This file is compiled once per set, with LATENTLOOP_VECTOR_BYTES,
// LATENTLOOP_KERNELS (the name of the function below) and LATENTLOOP_NAME (the name of the set) defined. It must not
// use the C++ library; gemm/simd.h explains why.
#include "blocks/attention.h"
#include "blocks/draw.h"
#include "blocks/residual_blocks.h"
#include "causal_conv/above.h"
#include "causal_conv/left.h"
#include "kernels.h"
#include "nearest_codebook/cpu/search.h"

namespace latentloop {

const Kernels& LATENTLOOP_KERNELS() {
  static constexpr Kernels kernels{LATENTLOOP_NAME,
                                   kPanel,
                                   {left_items, left},
                                   {above_items, above},
                                   {residual_blocks_items, residual_blocks},
                                   {attention_items, attention},
                                   {draw_items, draw},
                                   {nearest_items, nearest}};
  return kernels;
}

}  // namespace latentloop
