// An engine's execution context: one graph of a loop or codec.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "../errors.h"
#include "../gpu/graphs.h"
#include "headers.h"

namespace latentloop {

// Returns what TensorRT has reported last in this thread.
std::string reported_reason();

// Returns the error for a plan that TensorRT cannot load.
Error load_error(const EngineSet& set, const std::string& file);

class Execution final : public DeviceGraph {
 public:
  // Null: the log says why.
  static std::unique_ptr<Execution> create(std::string path, nvinfer1::ICudaEngine& engine, int32_t profile,
                                           cuda::StreamHandle stream);

  // Sets all addresses, and the shapes that have changed, and enqueues a run.
  void enqueue(const std::map<std::string, DeviceTensor>& tensors, cuda::StreamHandle stream) override;

 private:
  Execution(std::string path, nvinfer1::ICudaEngine& engine);
  [[noreturn]] void fail() const;

  const std::string path_;
#ifdef TRT_MAJOR_RTX
  std::unique_ptr<nvinfer1::IRuntimeConfig> config_;
#endif
  std::unique_ptr<nvinfer1::IExecutionContext> execution_;
  std::map<std::string, Shape> input_shapes_;  // as set; empty at first
};

}  // namespace latentloop
