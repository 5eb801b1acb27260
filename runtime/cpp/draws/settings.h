// The settings of a draw: the temperature, and the filters, all of which a code must pass. Each is a state buffer [B]
// of a prior with the setting's name, whose initial value allows every code.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace latentloop {

// Values are over `low`, or from it on, and at most `high`.
struct Setting {
  const char* name;
  double low, high;
  bool allows_low, is_integer;  // its state buffer is of int64, else of float32
  double lowest;                // in the state buffer
  int64_t since;                // the first version of the manifest with its state buffer
};

constexpr double kInfinity{std::numeric_limits<double>::infinity()};
constexpr std::array<Setting, 4> kSettings{{
    {"temperature", 0, 1e20, false, false, 1e-20, 3},
    {"top_k", 0, kInfinity, false, true, 0, 3},
    {"top_p", 0, 1, false, false, 0, 3},
    {"min_p", 0, 1, true, false, 0, 4},
}};
constexpr size_t kTemperature{0}, kTopK{1}, kTopP{2}, kMinP{3};

// Returns the value that allows every one of K codes.
constexpr double neutral(size_t setting, int64_t codebook_size) {
  return setting == kTopK ? static_cast<double>(codebook_size) : setting == kMinP ? 0.0 : 1.0;
}

}  // namespace latentloop
