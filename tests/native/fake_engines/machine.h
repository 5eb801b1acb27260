// An engine of z = x + y, each [batch, 64], with profiles of 1 and of 1 to 3 images. LATENTLOOP_TEST_PLAN names the
// file.
#ifndef LATENTLOOP_TESTS_FAKE_ENGINES_MACHINE_H_
#define LATENTLOOP_TESTS_FAKE_ENGINES_MACHINE_H_

#include <NvInferRuntime.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "scenario.h"

extern "C" int fake_tensorrt_live(const char* kind) noexcept;

constexpr int64_t kWidth{64};
constexpr size_t kRow{kWidth * sizeof(float)};

struct Log : nvinfer1::ILogger {
  void log(Severity severity, const char* text) noexcept override {
    if (severity <= Severity::kERROR) errors.emplace_back(text);
  }
  std::vector<std::string> errors;
};

inline std::string plan() {
  std::ifstream file{std::getenv("LATENTLOOP_TEST_PLAN"), std::ios::binary};
  return {std::istreambuf_iterator<char>(file), {}};
}

// An engine and its context, and slots of memory for three images: x, y and z.
struct Machine {
  Machine() : runtime(nvinfer1::createInferRuntime(log)) {
    const std::string bytes = plan();
    engine.reset(runtime->deserializeCudaEngine(bytes.data(), bytes.size()));
    if (!engine) std::fprintf(stderr, "%s\n", log.errors.at(0).c_str());
    EXPECT(engine != nullptr, true);
    context = new_context();
    stream = new_stream();
    for (uint64_t& each : memory) {
      each = allocate(stream);
      OK(cuMemsetD8Async(each, 0, kSize, stream));
    }
    OK(cuStreamSynchronize(stream));
  }

  std::unique_ptr<nvinfer1::IExecutionContext> new_context() {
    auto made = std::unique_ptr<nvinfer1::IExecutionContext>(engine->createExecutionContext());
    EXPECT(made != nullptr, true);
    return made;
  }

  void bind(nvinfer1::IExecutionContext& to, int64_t batch = 2) {
    EXPECT(to.setOptimizationProfileAsync(1, handle()), true);
    EXPECT(to.setInputShape("x", {2, {batch, kWidth}}), true);
    EXPECT(to.setInputShape("y", {2, {batch, kWidth}}), true);
    for (int i = 0; i < 3; ++i) EXPECT(to.setTensorAddress(kNames[i], reinterpret_cast<void*>(memory[i])), true);
  }
  void bind() { bind(*context); }

  cudaStream_t handle() const { return static_cast<cudaStream_t>(stream); }
  bool run() { return context->enqueueV3(handle()); }
  const std::string& error() const { return log.errors.back(); }

  static constexpr const char* kNames[]{"x", "y", "z"};
  Log log;
  std::unique_ptr<nvinfer1::IRuntime> runtime;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  std::unique_ptr<nvinfer1::IExecutionContext> context;
  void* stream;
  uint64_t memory[3];
};

inline void fill(const Machine& machine, int tensor, float first) {
  float values[2 * kWidth];
  for (int i = 0; i < 2 * kWidth; ++i) values[i] = first + static_cast<float>(i);
  OK(cuMemcpyHtoDAsync_v2(machine.memory[tensor], values, sizeof values, machine.stream));
}

inline float read(const Machine& machine, int at) {
  float values[2 * kWidth];
  OK(cuMemcpyDtoHAsync_v2(values, machine.memory[2], sizeof values, machine.stream));
  return values[at];
}

#endif  // LATENTLOOP_TESTS_FAKE_ENGINES_MACHINE_H_
