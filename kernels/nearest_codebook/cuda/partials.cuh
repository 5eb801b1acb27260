// Merges the partial results of one vector over parts of the codebook.
#pragma once

#include <math.h>

#include "device.h"

namespace latentloop::nearest {

LATENTLOOP_DEVICE void merge(Partial& into, const Partial& other) {
  into.second = fmaxf(fmaxf(into.second, other.second), fminf(into.best, other.best));
  if (other.best > into.best || (other.best == into.best && other.index < into.index)) {
    into.best = other.best;
    into.index = other.index;
  }
}

// Merges the partial results of 2, 4, ... or 32 neighbouring lanes. Every lane gets the result, and keeps its own norm.
LATENTLOOP_DEVICE Partial across_lanes(Partial p, int lanes) {
  LATENTLOOP_UNROLL
  for (int mask = lanes / 2; mask > 0; mask /= 2)
    merge(p, {shuffle_xor(p.best, mask), shuffle_xor(p.index, mask), shuffle_xor(p.second, mask), p.norm});
  return p;
}

}  // namespace latentloop::nearest
