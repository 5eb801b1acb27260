// The library's exception: a status of the C interface and a text. api/ converts it to a status.
#pragma once

#include <latentloop/latentloop.h>

#include <stdexcept>
#include <string>
#include <type_traits>

namespace latentloop {

class Error : public std::runtime_error {
 public:
  Error(ll_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  ll_status status() const { return status_; }

 private:
  ll_status status_;
};

// Returns the parts as one text. Integers are written as such, unlike by streams, which use the program's locale.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::string joined;
  const auto add = [&joined](const auto& part) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      joined += std::to_string(part);
    } else {
      joined += part;
    }
  };
  (add(parts), ...);
  return joined;
}

// Returns names as a list for messages.
template <typename Names>
std::string joined(const Names& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

}  // namespace latentloop
