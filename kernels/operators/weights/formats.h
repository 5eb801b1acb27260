// The constant weights of operators: their storage formats, and packing that is shared between operators.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../../causal_conv/packing.h"
#include "../onnxruntime/runtime.h"
#include "shared_weights.h"

namespace latentloop {

// Reads the attribute `bits`: 32, or 8 for weights rounded to 8 bits per output. Throws std::invalid_argument.
inline int64_t weight_bits(const Runtime& runtime, const OrtKernelInfo* info) {
  const int64_t bits = runtime.attribute(info, "bits");
  if (bits != 8 && bits != 32) throw std::invalid_argument("bits must be 8 or 32");
  return bits;
}

// Bytes per weight of a step, which reads its weights for only two columns at a time. Three bytes are as exact as
// float32 in three quarters of the time; one byte holds 8-bit weights exactly.
inline int step_bytes(int64_t bits) { return bits == 8 ? 1 : 3; }

// Bytes per weight of a row, which reads its weights for many columns. Transformed 8-bit weights need more than 8 bits;
// the rounding to two bytes is far below the one to 8 bits.
inline int row_bytes(int64_t bits) { return bits == 8 ? 2 : 4; }

// Rounds matrix [I, O] to `bits` signed bits with one scale per output, in float32, as the operators' ONNX function
// bodies do. 32 bits: returns it unchanged.
inline std::vector<float> rounded(const float* matrix, size_t inputs, size_t outputs, int64_t bits) {
  std::vector<float> values(matrix, matrix + inputs * outputs);
  if (bits == 32) return values;
  const auto most = static_cast<float>((int64_t{1} << (bits - 1)) - 1);
  std::vector<float> unit(outputs, 0);
  for (size_t i = 0; i < inputs; ++i)
    for (size_t o = 0; o < outputs; ++o) unit[o] = std::max(unit[o], std::fabs(matrix[i * outputs + o]));
  for (float& u : unit) u = std::max(u / most, 1e-30f);
  for (size_t i = 0; i < inputs; ++i)
    for (size_t o = 0; o < outputs; ++o) {
      float& value = values[i * outputs + o];
      value = std::nearbyint(value / unit[o]) * unit[o];
    }
  return values;
}

// Packs a step's weights [taps, L, I, O]; operators with equal weights share the result.
inline std::shared_ptr<const Panels> packed_left(const float* values, const Shape& shape, bool gated, int64_t bits,
                                                 int panel) {
  Fingerprint fingerprint;
  fingerprint.add(gated ? 1 : 0);
  fingerprint.add(static_cast<uint64_t>(bits));
  fingerprint.add(static_cast<uint64_t>(panel));
  fingerprint.add(shape, values);
  return shared_weights<Panels>(fingerprint, [&] {
    return pack_left(values, shape[0], shape[1], shape[2], shape[3], gated, panel, step_bytes(bits));
  });
}

}  // namespace latentloop
