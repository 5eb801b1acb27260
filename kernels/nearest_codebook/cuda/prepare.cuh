// Prepares a codebook, once: h_k = -|e_k|^2 / 2 of every codeword, and the largest |e_k|.
//
// One thread per codeword. Bytes: K D values. FLOPs: 2 K D in float64. Bound: launch latency; a few microseconds.
#pragma once

#include <math.h>

#include "plan.h"
#include "vectors.cuh"

namespace latentloop::nearest {

template <typename T>
LATENTLOOP_DEVICE void prepare(const Arguments& a) {
  const int64_t k = block_x() * kThreads + thread_index();
  if (k >= a.codewords) return;
  const T* codeword = static_cast<const T*>(a.codebook) + k * a.dimensions;
  double squares = 0;
  for (int d = 0; d < a.dimensions; ++d) {
    const double value = widen(codeword[d]);
    squares += value * value;
  }
  const float half = static_cast<float>(squares / -2);
  a.half_norms[k] = is_finite(half) ? half : -infinity();
  // Rounded up, because error bounds use it. Codewords that are never the nearest do not count.
  if (is_finite(half)) atomic_largest(a.largest, static_cast<float>(sqrt(squares)) * 1.000001f);
}

}  // namespace latentloop::nearest
