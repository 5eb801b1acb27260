// An engine: the description of its tensors and profiles, and its ONNX Runtime session.
#ifndef LATENTLOOP_TESTS_TENSORRT_ENGINE_H_
#define LATENTLOOP_TESTS_TENSORRT_ENGINE_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "onnx_session.h"
#include "runtime_config.h"
#include "unsimulated_engine.h"

namespace fake_tensorrt {

constexpr size_t kInternalBytes{256};  // of an engine's weights, and of a context's memory

Dims dims_of(const Shape& shape);

// The memory of an engine or a context. No work may use it when it is freed.
class InternalMemory {
 public:
  // Throws std::runtime_error if no context is current.
  explicit InternalMemory(std::string text);
  ~InternalMemory() { fake_cuda_release((text_ + " was destroyed").c_str(), pointer_); }
  InternalMemory(const InternalMemory&) = delete;
  InternalMemory& operator=(const InternalMemory&) = delete;

  uint64_t pointer() const { return pointer_; }

 private:
  std::string text_;
  uint64_t pointer_;
};

class Engine : public ICudaEngine, public UnsimulatedEngine, Counted<Engine> {
 public:
  using Counted<Engine>::live;

  // Throws std::runtime_error for a model that cannot be simulated.
  Engine(Plan plan, ILogger& logger, Children engines);
  ~Engine() noexcept override;

  ILogger& logger() const { return logger_; }
  const Plan& plan() const { return plan_; }
  std::shared_ptr<const OnnxSession> session() const { return session_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }  // inputs, then outputs
  bool is_input(const Tensor& tensor) const { return &tensor < tensors_.data() + session_->inputs().size(); }
  const Tensor* find(const char* name) const;
  bool is_dynamic() const;
  uint64_t weights() const { return weights_.pointer(); }
  // Returns the minimal, optimal and maximal shape of an input.
  std::vector<Shape> profile_shapes(const Tensor& input, int profile) const;
  const Children& contexts() const { return contexts_; }

  ICudaEngine* getPImpl() noexcept override { return this; }
  char const* getName() const noexcept override { return plan_.name.c_str(); }
  int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(tensors_.size()); }
  char const* getIOTensorName(int32_t index) const noexcept override;
  TensorIOMode getTensorIOMode(char const* name) const noexcept override;
  DataType getTensorDataType(char const* name) const noexcept override;
  Dims getTensorShape(char const* name) const noexcept override;
  TensorLocation getTensorLocation(char const*) const noexcept override { return TensorLocation::kDEVICE; }
  TensorFormat getTensorFormat(char const*) const noexcept override { return TensorFormat::kLINEAR; }
  bool isShapeInferenceIO(char const*) const noexcept override { return false; }
  int32_t getNbOptimizationProfiles() const noexcept override;
  Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector select) const noexcept override;
  int32_t getNbAuxStreams() const noexcept override { return 0; }
  IRuntimeConfig* createRuntimeConfig() noexcept override { return new RuntimeConfig; }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override;
  IExecutionContext* createExecutionContextWithRuntimeConfig(IRuntimeConfig* config) noexcept override;

 private:
  IExecutionContext* create(const Options& options);

  Plan plan_;
  ILogger& logger_;
  Children engines_;  // of the runtime
  Children contexts_{std::make_shared<std::atomic<int>>(0)};
  std::shared_ptr<const OnnxSession> session_;
  std::vector<Tensor> tensors_;
  InternalMemory weights_;
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_ENGINE_H_
