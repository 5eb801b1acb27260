// Weights brought into panels, once, when a graph is loaded. Plain loops; sums in float64.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../kernels.h"
#include "memory.h"

namespace latentloop {

constexpr size_t kPackedSlack{16};  // a load of 3-byte weights reads beyond the last one

inline size_t panel_count(size_t outputs, size_t panel) { return (outputs + panel - 1) / panel; }

// Panels of weights being filled. Each panel's weights share the scale of their output.
class Panels {
 public:
  Panels() = default;

  // `inputs` per panel: how many rows of `panel` weights it holds.
  Panels(size_t panels, size_t inputs, size_t panel, int bytes)
      : inputs_(inputs),
        panel_(panel),
        bytes_(bytes),
        packed_(allocate_packed<uint8_t>(panels * inputs * panel * static_cast<size_t>(bytes) + kPackedSlack)),
        scale_(bytes == 4 ? 0 : panels * panel) {}

  // Stores one panel, values [inputs, panel].
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
    std::vector<double> unit(panel_, 0);  // weights per step of the fixed point
    for (size_t w = 0; w < inputs_ * panel_; ++w) unit[w % panel_] = std::fmax(unit[w % panel_], std::fabs(values[w]));
    for (size_t o = 0; o < panel_; ++o) {
      unit[o] /= most;
      // Three bytes are read as the upper ones of four.
      scale_[index * panel_ + o] = static_cast<float>(bytes_ == 3 ? unit[o] / 256 : unit[o]);
    }
    for (size_t w = 0; w < inputs_ * panel_; ++w) {
      const double step = unit[w % panel_];
      const auto fixed = static_cast<int32_t>(step > 0 ? std::nearbyint(values[w] / step) : 0);
      for (int b = 0; b < bytes_; ++b) *to++ = static_cast<uint8_t>(fixed >> 8 * b);
    }
  }

  Weights view() const { return {packed_.get(), scale_.data(), bytes_}; }

 private:
  size_t inputs_{}, panel_{};
  int bytes_{};
  Packed<uint8_t> packed_;
  std::vector<float> scale_;
};

// Rounds matrix [I, O] to `bits` signed bits with a scale per output, as the operators' function bodies do in float32.
// For 32 bits it stays as it is.
inline std::vector<float> rounded(const float* matrix, size_t inputs, size_t outputs, int64_t bits) {
  std::vector<float> values(matrix, matrix + inputs * outputs);
  if (bits == 32) return values;
  const auto most = static_cast<float>((int64_t{1} << (bits - 1)) - 1);
  std::vector<float> unit(outputs, 0);
  for (size_t w = 0; w < values.size(); ++w) unit[w % outputs] = std::fmax(unit[w % outputs], std::fabs(values[w]));
  for (float& u : unit) u = std::fmax(u / most, 1e-30f);
  for (size_t w = 0; w < values.size(); ++w)
    values[w] = std::nearbyint(values[w] / unit[w % outputs]) * unit[w % outputs];
  return values;
}

}  // namespace latentloop
