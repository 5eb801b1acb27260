// A codebook packed into panels for the CPU search, in float32 and in bfloat16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../../gemm/aligned_memory.h"
#include "../../gemm/panels.h"
#include "../../kernels.h"

namespace latentloop {

// Rounds to the nearest bfloat16; its bits are in the lower half.
inline uint32_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

class PackedCodebook {
 public:
  // Packs codewords [count, dimensions] for kernels with `panel` outputs per panel. Throws std::bad_alloc.
  PackedCodebook(const float* codewords, size_t count, size_t dimensions, size_t panel)
      : count_(count),
        dimensions_(dimensions),
        packed_(allocate_packed<float>(panel_count(count, panel) * dimensions * panel)),
        half_norms_(allocate_packed<float>(panel_count(count, panel) * panel)),
        coarse_(allocate_packed<uint32_t>(panel_count(count, panel) * dimensions * panel / 2)) {
    double largest = 0;
    for (size_t k = 0; k < panel_count(count, panel) * panel; ++k) {
      const float* codeword = k < count ? codewords + k * dimensions : nullptr;
      double squares = 0;
      for (size_t d = 0; codeword != nullptr && d < dimensions; ++d)
        squares += static_cast<double>(codeword[d]) * codeword[d];
      const auto half = static_cast<float>(-squares / 2);
      const bool eligible = codeword != nullptr && std::isfinite(half);
      half_norms_[k] = eligible ? half : -std::numeric_limits<float>::infinity();
      if (eligible) largest = std::max(largest, squares);
      float* to = packed_.get() + k / panel * dimensions * panel + k % panel;
      uint32_t* word = coarse_.get() + k / panel * dimensions * panel / 2 + k % (panel / 2);
      const bool lower = k % panel < panel / 2;  // written before the upper half; sets the whole word
      for (size_t d = 0; d < dimensions; ++d, to += panel, word += panel / 2) {
        *to = eligible ? codeword[d] : 0;
        *word = lower ? to_bfloat16(*to) : *word | to_bfloat16(*to) << 16;
      }
    }
    largest_ = static_cast<float>(std::sqrt(largest) * (1 + 1e-6));
  }

  // Returns a task with the codebook's fields set; the caller sets the vectors and outputs.
  NearestTask task() const {
    NearestTask task{};
    task.packed = packed_.get();
    task.half_norms = half_norms_.get();
    task.coarse = coarse_.get();
    task.largest = largest_;
    task.dimensions = static_cast<int>(dimensions_);
    task.codewords = static_cast<int>(count_);
    return task;
  }

 private:
  size_t count_, dimensions_;
  Packed<float> packed_, half_norms_;
  Packed<uint32_t> coarse_;
  float largest_{};
};

// Returns the number of threads that a search can use well: waking a thread costs as much as 4 million multiply-adds.
inline size_t useful_threads(const NearestTask& task) {
  const double work = static_cast<double>(task.vectors) * task.codewords * task.dimensions / 4e6;
  return static_cast<size_t>(std::clamp(work, 1.0, 1024.0));
}

}  // namespace latentloop
