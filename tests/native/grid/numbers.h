// 16-bit floating-point types as in CUDA: their bits, and conversions from and to float.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace latentloop::nearest {

struct Half {
  uint16_t bits;

  Half() = default;
  explicit Half(float x);
};

struct Bfloat {
  uint16_t bits;

  Bfloat() = default;
  explicit Bfloat(float x);
};

inline float widen(float x) { return x; }

inline float widen(Half x) {
  const int exponent = x.bits >> 10 & 31, fraction = x.bits & 1023;
  const float size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return x.bits >> 15 ? -size : size;
}

inline float widen(Bfloat x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Kernels convert only 0 and NaN to these types.
inline Half::Half(float x) : bits(std::isnan(x) ? 0x7fff : 0) {}
inline Bfloat::Bfloat(float x) : bits(std::isnan(x) ? 0x7fff : 0) {}

}  // namespace latentloop::nearest
