// A set's engines in TensorRT: plans, with one execution context per loop or codec.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "../cuda/context.h"
#include "../engines/plan.h"
#include "../gpu/graphs.h"
#include "library.h"

namespace latentloop {

// The engines are loaded on first use; threads may share them.
class TensorRtEngines final : public DeviceGraphs {
 public:
  // The set must have been built with the library that is loaded.
  TensorRtEngines(EngineSet set, std::shared_ptr<const cuda::GpuContext> context);
  ~TensorRtEngines() override;

  const EngineSet& set() const override { return set_; }
  int64_t largest_batch() const override;
  std::unique_ptr<DeviceGraph> load(const std::string& file, int64_t batch, cuda::StreamHandle stream) override;

 private:
  int32_t narrowest_profile(int64_t batch) const;
  nvinfer1::ICudaEngine& engine(const std::string& file);
  void check_bindings(const std::string& file, const nvinfer1::ICudaEngine& engine) const;

  const EngineSet set_;
  Plans plans_;
  const std::shared_ptr<const cuda::GpuContext> context_;
  std::mutex mutex_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::map<std::string, std::unique_ptr<nvinfer1::ICudaEngine>> loaded_;  // by file
};

}  // namespace latentloop
