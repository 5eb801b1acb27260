// A plan of the simulated TensorRT, as tests/fake_gpu/tensorrt_plan.py writes it: the description of an engine, and its
// ONNX model.
#ifndef LATENTLOOP_TESTS_TENSORRT_PLAN_H_
#define LATENTLOOP_TESTS_TENSORRT_PLAN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fake_tensorrt {

using Shape = std::vector<int64_t>;

struct Plan {
  std::string library, version, name;
  std::vector<std::string> architectures;                           // for example "sm90"
  std::vector<std::map<std::string, std::vector<Shape>>> profiles;  // minimal, optimal and maximal shape of an input
  std::string digest;                                               // SHA-256 of the model
  std::string model;
};

// Returns nothing if the bytes are not a complete plan.
std::optional<Plan> read_plan(const void* data, size_t size);

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_PLAN_H_
