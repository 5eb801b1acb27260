// Float64 arithmetic that also computes a bound on the error of the same computation in float32.
#pragma once

#include <cfloat>
#include <cmath>
#include <vector>

constexpr double kRounding{FLT_EPSILON / 2};  // relative error of one operation in float32
constexpr double kExp{2e-7};                  // relative error of the kernels' exponential, as gemm/simd.h states
constexpr double kLeastExp{2e-38};            // its absolute error where it saturates, at e^-87

// A float64 value and the largest error of the float32 result.
struct Bounded {
  double value{};
  double error{};
};

using BoundedValues = std::vector<Bounded>;

inline Bounded operator+(Bounded a, Bounded b) {
  const double sum = a.value + b.value;
  return {sum, a.error + b.error + kRounding * std::fabs(sum)};
}

inline Bounded operator*(Bounded a, Bounded b) {
  const double product = a.value * b.value;
  return {product, std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error +
                       kRounding * std::fabs(product)};
}

inline Bounded operator/(Bounded a, Bounded b) {
  const double quotient = a.value / b.value;
  return {quotient, (a.error + std::fabs(quotient) * b.error) / std::fabs(b.value) + kRounding * std::fabs(quotient)};
}

inline Bounded exp(Bounded x) {
  const double value = std::exp(x.value);
  return {value, value * (std::expm1(x.error) + kExp) + kLeastExp};
}

// ELU has a slope of at most 1; e^x - 1 has the absolute error of e^x.
inline Bounded elu(Bounded x) {
  if (x.value > x.error) return x;
  return {x.value > 0 ? x.value : std::expm1(x.value), x.error + kExp + kRounding};
}

// The sigmoid has a slope of at most 1/4.
inline Bounded sigmoid(Bounded x) {
  const double value = 1 / (1 + std::exp(-x.value));
  return {value, x.error / 4 + (kExp + 2 * kRounding) * value + kLeastExp};
}

// A sum of n products. Its roundings are independent, so their sum grows with sqrt(n) times the size of the terms. The
// constant covers short sums and the scale of fixed-point weights.
class Sum {
 public:
  void add(Bounded x, Bounded weight) {
    const double product = x.value * weight.value;
    value_ += product;
    error_ += std::fabs(x.value) * weight.error + std::fabs(weight.value) * x.error + x.error * weight.error;
    size_ += std::fabs(product);
    ++terms_;
  }
  Bounded total() const { return {value_, error_ + kRounding * (4 + std::sqrt(terms_)) * size_}; }

 private:
  double value_{}, error_{}, size_{};
  int terms_{};
};
