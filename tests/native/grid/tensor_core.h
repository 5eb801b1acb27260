// A tensor core's matrix product, as inexact as one may be.
//
// Measured on hardware (Fasi, Higham, Mikaitis, Pranesh: "Numerical behavior of NVIDIA tensor cores", PeerJ Computer
// Science 7:e330, 2021): products are exact; a group of them and the accumulator are shifted to the largest exponent,
// where products are not normalised, and what falls off is cut, not rounded; the sum is exact, and cut to float32. A
// group is all 16 products without a bit to spare, or 8 with one, and which products meet in one is random.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "block.h"

namespace latentloop::grid {

// What one lane has of a [16, 16], b [16, 8] and c [16, 8].
struct Fragments {
  const uint32_t* a;
  const uint32_t* b;
  float* c;
};

struct Term {
  double value{};
  int exponent{};  // of its leading bit; of a product, the sum of its factors'
};

inline Term term(double value) { return {value, value == 0 || !std::isfinite(value) ? -1100 : std::ilogb(value)}; }
inline Term operator*(const Term& a, const Term& b) { return {a.value * b.value, a.exponent + b.exponent}; }

inline float cut_to_float(double value) {
  const float rounded = static_cast<float>(value);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(value) ? std::nextafter(rounded, 0.0f) : rounded;
}

// c and the products, cut below `bits` places of the largest.
template <size_t Count>
float sum_group(float c, const std::array<Term, Count>& products, int bits) {
  const Term start = term(c);
  int exponent = start.exponent;
  double plain = c;
  for (const Term& product : products) {
    exponent = std::max(exponent, product.exponent);
    plain += product.value;
  }
  if (!std::isfinite(plain)) return static_cast<float>(plain);
  const int place = std::max(exponent - (bits - 1), -149);
  const double scale = std::ldexp(1.0, -place);
  double sum = std::trunc(start.value * scale);
  for (const Term& product : products) sum += std::trunc(product.value * scale);
  return cut_to_float(std::ldexp(sum, place));
}

// The layout is that of device.h; T is the type of a and b, both widened by `widen`.
template <typename T, typename Widen>
void multiply_fragments(const std::array<Fragments*, kWarp>& lanes, Random& random, const Widen& widen) {
  std::array<size_t, 16> order;  // of the products
  for (size_t k = 0; k < 16; ++k) order[k] = k;
  random.shuffle(order);
  const auto half = [&](uint32_t word, size_t i) {
    T value;
    value.bits = static_cast<uint16_t>(word >> 16 * i);
    return term(widen(value));
  };
  std::array<std::array<Term, 16>, 16> a;
  std::array<std::array<Term, 16>, 8> b;  // transposed
  for (size_t lane = 0; lane < kWarp; ++lane)
    for (size_t i = 0; i < 2; ++i) {
      const size_t g = lane / 4, k = lane % 4 * 2 + i;
      for (size_t r = 0; r < 4; ++r) a[g + r % 2 * 8][order[k + r / 2 * 8]] = half(lanes[lane]->a[r], i);
      for (size_t r = 0; r < 2; ++r) b[g][order[k + r * 8]] = half(lanes[lane]->b[r], i);
    }
  const bool whole = random.below(2) == 0;
  for (size_t lane = 0; lane < kWarp; ++lane)
    for (size_t r = 0; r < 4; ++r) {
      const auto& row = a[lane / 4 + r / 2 * 8];
      const auto& column = b[lane % 4 * 2 + r % 2];
      float& c = lanes[lane]->c[r];
      if (whole) {
        std::array<Term, 16> products;
        for (size_t k = 0; k < 16; ++k) products[k] = row[k] * column[k];
        c = sum_group(c, products, 24);
        continue;
      }
      for (size_t group = 0; group < 16; group += 8) {
        std::array<Term, 8> products;
        for (size_t k = 0; k < 8; ++k) products[k] = row[group + k] * column[group + k];
        c = sum_group(c, products, 25);
      }
    }
}

}  // namespace latentloop::grid
