// Plain float64 arithmetic that also keeps how far a computation in float32 may lie from it.
#pragma once

#include <cfloat>
#include <cmath>

constexpr double kRounding{FLT_EPSILON / 2};  // relative error of one operation in float32
constexpr double kExp{2e-7};                  // relative error of the kernels' exponential, as panels/vector.h states
constexpr double kLeastExp{2e-38};            // it saturates at e^-87

struct Near {
  double value{};
  double error{};
};

inline Near operator+(Near a, Near b) {
  const double sum = a.value + b.value;
  return {sum, a.error + b.error + kRounding * std::fabs(sum)};
}

inline Near operator*(Near a, Near b) {
  const double product = a.value * b.value;
  return {product, std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error +
                       kRounding * std::fabs(product)};
}

inline Near operator/(Near a, Near b) {
  const double quotient = a.value / b.value;
  return {quotient, (a.error + std::fabs(quotient) * b.error) / std::fabs(b.value) + kRounding * std::fabs(quotient)};
}

inline Near exp(Near x) {
  const double value = std::exp(x.value);
  return {value, value * (std::expm1(x.error) + kExp) + kLeastExp};
}

// A slope of at most 1; e^x - 1 has the absolute error of e^x.
inline Near elu(Near x) {
  if (x.value > x.error) return x;
  return {x.value > 0 ? x.value : std::expm1(x.value), x.error + kExp + kRounding};
}

// A slope of at most 1/4.
inline Near sigmoid(Near x) {
  const double value = 1 / (1 + std::exp(-x.value));
  return {value, x.error / 4 + (kExp + 2 * kRounding) * value + kLeastExp};
}

// A sum of products. The roundings of its n steps are independent, so they add up as sqrt(n) of the terms' total size
// does; the constant is for short sums, and for the scale of fixed-point weights.
class Sum {
 public:
  void add(Near x, Near weight) {
    const double product = x.value * weight.value;
    value_ += product;
    error_ += std::fabs(x.value) * weight.error + std::fabs(weight.value) * x.error + x.error * weight.error;
    size_ += std::fabs(product);
    ++terms_;
  }
  Near total() const { return {value_, error_ + kRounding * (4 + std::sqrt(terms_)) * size_}; }

 private:
  double value_{}, error_{}, size_{};
  int terms_{};
};
