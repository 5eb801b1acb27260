// Calls of ONNX Runtime's C API: statuses become exceptions.
#pragma once

#include <stdexcept>
#include <string>

#include "abi.h"

namespace latentloop {

class Api {
 public:
  explicit Api(const OrtApi* api) : api_(api) {}

  // Throws std::runtime_error if the function returns a status.
  template <typename F, typename... Arguments>
  void call(Arguments... arguments) const {
    check(F::of(api_)(arguments...));
  }

  // Throws std::runtime_error with the text of a status that is not null, and releases it.
  void check(OrtStatus* status) const {
    if (status == nullptr) return;
    const std::string text{reinterpret_cast<const char*>(ort::GetErrorMessage::of(api_)(status))};
    ort::ReleaseStatus::of(api_)(status);
    throw std::runtime_error(text);
  }

  // For functions that free something: ignores their status, if they return one.
  template <typename F, typename... Arguments>
  void release(Arguments... arguments) const {
    F::of(api_)(arguments...);
  }

 protected:
  const OrtApi* api_;
};

}  // namespace latentloop
