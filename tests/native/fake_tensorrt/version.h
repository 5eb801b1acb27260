// The simulated library's name and version: the headers', unless the environment variable
// LATENTLOOP_TEST_TENSORRT_VERSION says another one, such as "10.15.0.3".
#ifndef LATENTLOOP_TESTS_TENSORRT_VERSION_H_
#define LATENTLOOP_TESTS_TENSORRT_VERSION_H_

#include <NvInferVersion.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace fake_tensorrt {

#ifdef TRT_MAJOR_RTX
constexpr bool kIsRtx{true};
#else
constexpr bool kIsRtx{false};
#endif

inline std::string library_name() { return kIsRtx ? "tensorrt_rtx" : "tensorrt"; }

// Major, minor, patch and build.
inline std::array<int, 4> version_numbers() {
  std::array<int, 4> numbers{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, NV_TENSORRT_BUILD};
  if (const char* other = std::getenv("LATENTLOOP_TEST_TENSORRT_VERSION"))
    std::sscanf(other, "%d.%d.%d.%d", &numbers[0], &numbers[1], &numbers[2], &numbers[3]);
  return numbers;
}

inline std::string library_version() {
  const auto [major, minor, patch, build] = version_numbers();
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch) + "." +
         std::to_string(build);
}

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_VERSION_H_
