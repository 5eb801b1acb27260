// The interface of what loads and runs graphs on a GPU.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "../cuda/stream.h"
#include "../engines/engine_set.h"
#include "tensor.h"

namespace latentloop {

// A graph that is loaded for one loop or codec. From run to run shapes stay the same, and addresses may change.
class DeviceGraph {
 public:
  DeviceGraph() = default;
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;
  virtual ~DeviceGraph() = default;  // the stream must have been waited for

  // Enqueues one run without waiting, which may be captured after one run outside a capture. `tensors` has an aligned
  // tensor for every input and output.
  virtual void enqueue(const std::map<std::string, DeviceTensor>& tensors, cuda::StreamHandle stream) = 0;
};

class DeviceGraphs {
 public:
  DeviceGraphs() = default;
  DeviceGraphs(const DeviceGraphs&) = delete;
  DeviceGraphs& operator=(const DeviceGraphs&) = delete;
  virtual ~DeviceGraphs() = default;

  virtual const EngineSet& set() const = 0;
  virtual int64_t largest_batch() const = 0;

  // Returns a new graph of a file of the set, for a batch size. Any thread may call it. Throws Error (LL_BAD_BUNDLE).
  virtual std::unique_ptr<DeviceGraph> load(const std::string& file, int64_t batch, cuda::StreamHandle stream) = 0;
};

}  // namespace latentloop
