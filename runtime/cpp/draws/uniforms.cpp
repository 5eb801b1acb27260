#include "uniforms.h"

namespace latentloop {

uint32_t philox(uint64_t seed, uint32_t level, uint32_t position) {
  uint32_t c0 = position, c1 = level, c2 = 0, c3 = 0;
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{c0} * 0xD2511F53, b = uint64_t{c2} * 0xCD9E8D57;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c0;
}

void uniform_row(const uint64_t* seeds, int64_t n, uint32_t level, int64_t width, int64_t i, float* out) {
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t b = 0; b < n; ++b) {
      const uint32_t word = philox(seeds[b], level, static_cast<uint32_t>(i * width + j));
      out[j * n + b] = static_cast<float>(word >> 8) * 0x1p-24f;
    }
  }
}

}  // namespace latentloop
