// Reads an operator's inputs in their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "onnxruntime/runtime.h"

namespace latentloop {

struct InputReader {
  const Runtime& runtime;
  OrtKernelContext* context;
  size_t next{};
  Shape shape{};  // of the input that was read last

  // Throws std::invalid_argument for another element type.
  template <typename T = float>
  const T* read() {
    constexpr int kExpected{std::is_same_v<T, int64_t> ? ort::kInt64 : ort::kFloat};
    const OrtValue* value = runtime.input(context, next++);
    int type = 0;
    shape = runtime.shape(value, &type);
    if (type != kExpected)
      throw std::invalid_argument("input " + std::to_string(next - 1) + " has the element type " +
                                  std::to_string(type) + ", expected " + std::to_string(kExpected));
    return runtime.data<T>(value);
  }

  // Reads an input that must have this shape. Throws std::invalid_argument, which names it.
  template <typename T = float>
  const T* read(const char* name, const Shape& expected) {
    const T* values = read<T>();
    check(shape == expected, name, shape);
    return values;
  }
};

}  // namespace latentloop
