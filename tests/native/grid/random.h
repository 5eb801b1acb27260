// Random numbers that are the same on every machine for a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace latentloop::grid {

// Splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
  size_t below(size_t end) { return static_cast<size_t>(bits() % end); }
  template <typename Values>
  void shuffle(Values& values) {
    for (size_t left = values.size(); left > 1; --left) std::swap(values[left - 1], values[below(left)]);
  }

 private:
  uint64_t state_;
};

}  // namespace latentloop::grid
