// The matrix product of a tensor core, with the largest rounding errors that hardware may have.
//
// Measured on hardware (Fasi, Higham, Mikaitis, Pranesh: "Numerical behavior of NVIDIA tensor cores", PeerJ Computer
// Science 7:e330, 2021): products are exact. A group of products and the accumulator are shifted to the largest
// exponent, where products are not normalised, and truncated, not rounded; their sum is exact, and truncated to
// float32. Here a group is all 16 products without an extra bit, or 8 with one; the products of a group are chosen at
// random.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "block.h"

namespace latentloop::grid {

// One lane's fragments of a [16, 16], b [16, 8] and c [16, 8].
struct Fragments {
  const uint32_t* a;
  const uint32_t* b;
  float* c;
};

struct Term {
  double value{};
  int exponent{};  // of the leading bit; for a product, the sum of the factors' exponents
};

inline Term term(double value) { return {value, value == 0 || !std::isfinite(value) ? -1100 : std::ilogb(value)}; }
inline Term operator*(const Term& a, const Term& b) { return {a.value * b.value, a.exponent + b.exponent}; }

inline float truncated_to_float(double value) {
  const float rounded = static_cast<float>(value);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(value) ? std::nextafter(rounded, 0.0f) : rounded;
}

// Returns c plus the products, each truncated to `bits` bits below the largest exponent.
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
  const int last_bit = std::max(exponent - (bits - 1), -149);
  const double scale = std::ldexp(1.0, -last_bit);
  double sum = std::trunc(start.value * scale);
  for (const Term& product : products) sum += std::trunc(product.value * scale);
  return truncated_to_float(std::ldexp(sum, last_bit));
}

// The fragments have the layout of device.h. T is the type of a and b; `widen` converts it to float.
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
