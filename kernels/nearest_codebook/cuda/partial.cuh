// Joining what parts of the codebook gave for one vector.
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

// What 2, 4, ... 32 neighbouring lanes hold together; every lane gets it, with its own norm.
LATENTLOOP_DEVICE Partial across_lanes(Partial p, int lanes) {
  LATENTLOOP_UNROLL
  for (int mask = lanes / 2; mask > 0; mask /= 2)
    merge(p, {shuffle_xor(p.best, mask), shuffle_xor(p.index, mask), shuffle_xor(p.second, mask), p.norm});
  return p;
}

}  // namespace latentloop::nearest
