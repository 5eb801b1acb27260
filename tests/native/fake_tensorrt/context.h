// An execution context. Its runs must not be concurrent, because they share its internal memory, which is freed with
// it.
#ifndef LATENTLOOP_TESTS_TENSORRT_CONTEXT_H_
#define LATENTLOOP_TESTS_TENSORRT_CONTEXT_H_

#include <map>
#include <string>
#include <vector>

#include "engine.h"
#include "unsimulated_context.h"

namespace fake_tensorrt {

class Context : public IExecutionContext, public UnsimulatedContext, Counted<Context> {
 public:
  using Counted<Context>::live;

  // Throws std::runtime_error if no CUDA context is current.
  Context(Engine& engine, const Options& options);
  ~Context() noexcept override;

  IExecutionContext* getPImpl() noexcept override { return this; }
  ICudaEngine const& getEngine() const noexcept override { return engine_; }
  void setName(char const* name) noexcept override { name_ = name; }
  char const* getName() const noexcept override { return name_.c_str(); }
  int32_t getOptimizationProfile() const noexcept override { return profile_; }
  // Selects a profile and resets the shapes. A run on another stream must wait for this stream's work.
  bool setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept override;
  bool allInputDimensionsSpecified() const noexcept override { return missing().empty(); }
  bool allInputShapesSpecified() const noexcept override { return missing().empty(); }
  bool setInputShape(char const* name, Dims const& dims) noexcept override;
  Dims getTensorShape(char const* name) const noexcept override;
  bool setTensorAddress(char const* name, void* data) noexcept override;
  bool setInputTensorAddress(char const* name, void const* data) noexcept override;
  bool setOutputTensorAddress(char const* name, void* data) noexcept override;
  void const* getTensorAddress(char const* name) const noexcept override;
  int32_t inferShapes(int32_t most_names, char const** names) noexcept override;
  bool enqueueV3(cudaStream_t stream) noexcept override;

 private:
  // Returns the shape, with -1 for sizes that the shapes set so far do not determine.
  Shape shape_of(const Tensor& tensor) const;
  std::vector<const Tensor*> missing() const;  // inputs without a shape
  // Returns the names and values of the inputs' sizes; a name has several values if inputs disagree.
  std::multimap<std::string, int64_t> named_sizes() const;
  bool fail(const std::string& call, const std::string& text) const;
  bool fail_capture(const std::string& call, cudaStream_t stream) const;

  Engine& engine_;
  Children contexts_;  // of the engine
  Options options_;
  std::string name_;
  InternalMemory memory_;
  int32_t profile_{0};
  std::map<std::string, Shape> shapes_;
  std::map<std::string, void*> addresses_;
  bool has_run_{false};  // outside a capture, with these shapes
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_CONTEXT_H_
