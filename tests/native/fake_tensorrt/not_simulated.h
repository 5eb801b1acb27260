// Virtual functions of TensorRT that no test needs: a call is a violation.
#ifndef LATENTLOOP_TESTS_TENSORRT_NOT_SIMULATED_H_
#define LATENTLOOP_TESTS_TENSORRT_NOT_SIMULATED_H_

#include <cstdlib>
#include <string>
#include <type_traits>

#include "fake_cuda.h"

// Overrides a virtual function that returns `type`; `qualifier` is const or nothing.
#define NOT_SIMULATED(type, name, parameters, qualifier) \
  type name parameters qualifier noexcept override { return fake_tensorrt::not_simulated<type>(#name); }

namespace fake_tensorrt {

template <typename T>
T not_simulated(const char* name) {
  fake_cuda_violate((std::string("TensorRT: not simulated: ") + name).c_str());
  if constexpr (std::is_reference_v<T>) std::abort();
  if constexpr (!std::is_void_v<T> && !std::is_reference_v<T>) return T{};
}

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_NOT_SIMULATED_H_
