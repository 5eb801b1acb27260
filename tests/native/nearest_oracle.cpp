// The nearest codeword exactly as arguments.h defines it, by one float32 FMA chain after another.
#include <cmath>
#include <cstdint>

// Inputs: z [N, D] and codebook [K, D], converted to float32. Outputs: half_norms [K], index [N].
extern "C" void latentloop_nearest_oracle(const float* z, const float* codebook, int64_t vectors, int64_t codewords,
                                          int64_t dimensions, float* half_norms, int64_t* index) {
  for (int64_t k = 0; k < codewords; ++k) {
    double squares = 0;
    for (int64_t d = 0; d < dimensions; ++d) {
      const double value = codebook[k * dimensions + d];
      squares += value * value;
    }
    half_norms[k] = static_cast<float>(-squares / 2);
    if (!std::isfinite(half_norms[k])) half_norms[k] = -INFINITY;
  }
  for (int64_t n = 0; n < vectors; ++n) {
    const float* vector = z + n * dimensions;
    float norm = 0, best = -INFINITY;
    for (int64_t d = 0; d < dimensions; ++d) norm = std::fmaf(vector[d], vector[d], norm);
    index[n] = -1;
    for (int64_t k = 0; std::isfinite(norm) && k < codewords; ++k) {
      float score = half_norms[k];
      for (int64_t d = 0; d < dimensions; ++d) score = std::fmaf(vector[d], codebook[k * dimensions + d], score);
      if (score > best) best = score, index[n] = k;
    }
  }
}
