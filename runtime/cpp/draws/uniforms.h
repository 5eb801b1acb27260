// Uniform random numbers by Philox 4x32-10 (Salmon et al., SC 2011), a counter-based generator: one number per seed,
// level and position, a multiple of 2^-24 below 1.
#pragma once

#include <cstdint>

namespace latentloop {

// Returns the first word for the counter (position, level, 0, 0), with the seed as key.
uint32_t philox(uint64_t seed, uint32_t level, uint32_t position);

// Writes the numbers of row i of a grid with `width` columns: out [width, n] for seeds [n].
void uniform_row(const uint64_t* seeds, int64_t n, uint32_t level, int64_t width, int64_t i, float* out);

}  // namespace latentloop
