// The kernels under test, and array helpers of the test problems.
#pragma once

#include <initializer_list>

#include "harness.h"
#include "kernels.h"

#ifndef LATENTLOOP_KERNELS
#error "define LATENTLOOP_KERNELS"
#endif

namespace latentloop {
const Kernels& LATENTLOOP_KERNELS();
}

using namespace latentloop;

inline const Kernels& kernels() { return LATENTLOOP_KERNELS(); }

inline size_t panel() { return static_cast<size_t>(kernels().panel); }

inline size_t product(std::initializer_list<int> sizes) {
  size_t count = 1;
  for (const int size : sizes) count *= static_cast<size_t>(size);
  return count;
}

// Returns row `index` of an array of rows with `inner` values.
inline const float* row_of(const Floats& values, int index, int inner) {
  return values.data() + static_cast<size_t>(index) * static_cast<size_t>(inner);
}

// Awkward sizes: less than a SIMD vector, about a panel, and more than the inputs that are unpacked at once (kPart).
constexpr int kInputs[]{1, 5, 19, 33, 130};
constexpr int kOutputs[]{1, 5, 19, 33, 100};
constexpr int kSizes{5};
