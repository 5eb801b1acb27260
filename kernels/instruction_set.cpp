// Compiled once per instruction set, with LATENTLOOP_VECTOR_BYTES, LATENTLOOP_KERNELS (the function's name) and
// LATENTLOOP_NAME set. Nothing of the C++ library may be used here: see panels/vector.h.
#include "blocks/attention.h"
#include "blocks/draw.h"
#include "blocks/mix.h"
#include "causal_conv/above.h"
#include "causal_conv/left.h"
#include "kernels.h"
#include "nearest_codebook/cpu/search.h"

namespace latentloop {

const Kernels& LATENTLOOP_KERNELS() {
  static constexpr Kernels kernels{LATENTLOOP_NAME,    kPanel,
                                   {left_items, left}, {above_items, above},
                                   {mix_items, mix},   {attention_items, attention},
                                   {draw_items, draw}, {nearest_items, nearest}};
  return kernels;
}

}  // namespace latentloop
