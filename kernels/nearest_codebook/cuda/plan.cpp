// A C interface to plan.h. It needs no CUDA, and is part of the operator library for the CPU too.
#include "plan.h"

// Fills `out` for N vectors and K codewords on a GPU with that many multiprocessors (results are correct for any number
// of at least 1). Returns 0, or 1 if a size is out of range; then `out` is not written.
extern "C" __attribute__((visibility("default"))) int latentloop_nearest_plan(int64_t vectors, int32_t codewords,
                                                                              int32_t multiprocessors,
                                                                              latentloop::nearest::Plan* out) {
  using namespace latentloop::nearest;
  if (vectors < 0 || vectors > kMostVectors || codewords < 1 || codewords > kMostCodewords || multiprocessors < 1)
    return 1;
  *out = plan(vectors, codewords, multiprocessors);
  return 0;
}
