// plan.h for launchers that are not C++. It needs no GPU, so every build of the libraries has it.
#include "plan.h"

// Fills `out` for N vectors and K codewords on a GPU of that many multiprocessors (any number of at least 1 gives right
// results). Returns 0, or 1 where a size is out of range; `out` is then left as it was.
extern "C" __attribute__((visibility("default"))) int latentloop_nearest_plan(int64_t vectors, int32_t codewords,
                                                                              int32_t multiprocessors,
                                                                              latentloop::nearest::Plan* out) {
  using namespace latentloop::nearest;
  if (vectors < 0 || vectors > kMostVectors || codewords < 1 || codewords > kMostCodewords || multiprocessors < 1)
    return 1;
  *out = plan(vectors, codewords, multiprocessors);
  return 0;
}
