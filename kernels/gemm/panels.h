// Weights packed into panels, once, when a graph is loaded. Not performance-critical: plain loops, float64 sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "../kernels.h"
#include "aligned_memory.h"

namespace latentloop {

inline size_t panel_count(size_t outputs, size_t panel) { return (outputs + panel - 1) / panel; }

// Packed weights, filled panel by panel. With fixed-point weights, each output of a panel has one scale.
class Panels {
 public:
  Panels() = default;

  // `panels` panels [inputs, panel] of weights with `bytes` bytes each.
  Panels(size_t panels, size_t inputs, size_t panel, int bytes)
      : inputs_(inputs),
        panel_(panel),
        bytes_(bytes),
        packed_(allocate_packed<uint8_t>(panels * inputs * panel * static_cast<size_t>(bytes) + kPackedSlack)),
        scale_(bytes == 4 ? 0 : panels * panel) {}

  // Converts and stores panel `index`, values [inputs, panel]. Throws std::invalid_argument for values that are not
  // finite, unless weights are float32.
  void set(size_t index, const double* values) {
    uint8_t* to = packed_.get() + index * inputs_ * panel_ * static_cast<size_t>(bytes_);
    if (bytes_ == 4) {
      for (size_t w = 0; w < inputs_ * panel_; ++w, to += 4) {
        const auto value = static_cast<float>(values[w]);
        std::memcpy(to, &value, sizeof value);
      }
      return;
    }
    const double most = std::ldexp(1.0, 8 * bytes_ - 1) - 1;
    std::vector<double> largest(panel_, 0), inverse(panel_, 0);
    const double* value = values;
    for (size_t i = 0; i < inputs_; ++i, value += panel_)
      for (size_t o = 0; o < panel_; ++o) {
        if (!std::isfinite(value[o])) throw std::invalid_argument("weights must be finite");
        largest[o] = std::max(largest[o], std::fabs(value[o]));
      }
    for (size_t o = 0; o < panel_; ++o) {
      const double unit = largest[o] / most;  // of the fixed-point format
      inverse[o] = unit > 0 ? 1 / unit : 0;
      // Three bytes are loaded as the upper bytes of an int32.
      scale_[index * panel_ + o] = static_cast<float>(bytes_ == 3 ? unit / 256 : unit);
    }
    value = values;
    for (size_t i = 0; i < inputs_; ++i, value += panel_)
      for (size_t o = 0; o < panel_; ++o, to += bytes_) store(to, std::nearbyint(value[o] * inverse[o]));
  }

  Weights view() const { return {packed_.get(), scale_.data(), bytes_}; }

 private:
  void store(uint8_t* to, double value) const {
    const auto fixed = static_cast<int32_t>(value);
    for (int b = 0; b < bytes_; ++b) to[b] = static_cast<uint8_t>(fixed >> 8 * b);
  }

  size_t inputs_{}, panel_{};
  int bytes_{};
  Packed<uint8_t> packed_;
  std::vector<float> scale_;
};

}  // namespace latentloop
