// The error that ends a launch, and source locations for its message.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

namespace latentloop::grid {

// An error of a kernel (such as a race or an access out of bounds) or of its launch.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A source location in a kernel.
struct Site {
  const char* file;
  int line;

  static Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  bool operator==(const Site& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
  std::string text() const {
    const char* folder = std::strrchr(file, '/');
    return std::string(folder == nullptr ? file : folder + 1) + ":" + std::to_string(line);
  }
};

}  // namespace latentloop::grid
