// Options of an execution context.
#ifndef LATENTLOOP_TESTS_TENSORRT_RUNTIME_CONFIG_H_
#define LATENTLOOP_TESTS_TENSORRT_RUNTIME_CONFIG_H_

#include <NvInferRuntime.h>

#include "live.h"
#include "version.h"

namespace fake_tensorrt {

using namespace nvinfer1;

struct Options {
  ExecutionContextAllocationStrategy allocation{ExecutionContextAllocationStrategy::kSTATIC};
  bool compiles_lazily{kIsRtx};  // kernels for dynamic shapes, beside the first runs
};

class RuntimeConfig : public IRuntimeConfig, public apiv::VRuntimeConfig, Counted<RuntimeConfig> {
 public:
  using Counted<RuntimeConfig>::live;

  RuntimeConfig() { mImpl = this; }

  Options options() const {
    Options out;
    out.allocation = allocation_;
#ifdef TRT_MAJOR_RTX
    out.compiles_lazily = strategy_ == DynamicShapesKernelSpecializationStrategy::kLAZY;
#endif
    return out;
  }

  IRuntimeConfig* getPImpl() noexcept override { return this; }
  void setExecutionContextAllocationStrategy(ExecutionContextAllocationStrategy strategy) noexcept override {
    allocation_ = strategy;
  }
  ExecutionContextAllocationStrategy getExecutionContextAllocationStrategy() const noexcept override {
    return allocation_;
  }
#ifdef TRT_MAJOR_RTX
  void setDynamicShapesKernelSpecializationStrategy(
      DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
    strategy_ = strategy;
  }
  DynamicShapesKernelSpecializationStrategy getDynamicShapesKernelSpecializationStrategy() const noexcept override {
    return strategy_;
  }
#endif

 private:
  ExecutionContextAllocationStrategy allocation_{ExecutionContextAllocationStrategy::kSTATIC};
#ifdef TRT_MAJOR_RTX
  DynamicShapesKernelSpecializationStrategy strategy_{DynamicShapesKernelSpecializationStrategy::kLAZY};
#endif
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_RUNTIME_CONFIG_H_
