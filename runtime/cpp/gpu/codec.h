// The encoder or the decoder on a GPU, on a stream of its own, so that it can run while codes are drawn.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../cuda/context.h"
#include "graphs.h"
#include "staging.h"

namespace latentloop {

// An array of the caller's that is bound to an input or an output of the same name. Of outputs, the first `count`
// samples are written.
struct CodecArray {
  std::string name;
  void* memory;
  bool is_on_gpu;
  int64_t count;
};

// A run that has been enqueued. It must be destroyed with the context current.
class CodecRun {
 public:
  explicit CodecRun(const cuda::Stream& stream, PageLockedPool& pool) : staging_(stream, pool) {}

  // Waits, and writes the outputs that are in memory of the host. It is called once.
  void wait();

 private:
  friend class DeviceCodec;

  struct Output {
    void* to;
    const void* from;
    size_t bytes;
  };

  Staging staging_;
  std::vector<Output> outputs_;
  std::unique_ptr<cuda::Event> end_;
};

// The graphs of the last two batch sizes are kept: the last part of many samples is smaller than the others. The
// context has to be current when functions are called.
class DeviceCodec {
 public:
  DeviceCodec(DeviceGraphs& graphs, const CodecGraph& description, const cuda::Driver& driver, PageLockedPool& pool)
      : graphs_(graphs), description_(description), pool_(pool), stream_(driver) {}
  ~DeviceCodec() { stream_.synchronize_quietly(); }  // a graph must not be destroyed while it runs

  // Enqueues a run on n samples. Arrays on the GPU are read and written in the order of the caller's stream.
  std::unique_ptr<CodecRun> run(int64_t n, const std::vector<CodecArray>& inputs,
                                const std::vector<CodecArray>& outputs, cuda::StreamHandle callers);

 private:
  // The graph for one batch size.
  struct Prepared {
    int64_t batch;
    TensorMemory memory;
    std::map<std::string, DeviceTensor> tensors;  // for every input and output
    std::unique_ptr<DeviceGraph> graph;
  };

  const Prepared& prepare(int64_t n);
  std::unique_ptr<CodecRun> enqueue(const Prepared& prepared, const std::vector<CodecArray>& inputs,
                                    const std::vector<CodecArray>& outputs);

  DeviceGraphs& graphs_;
  const CodecGraph& description_;
  PageLockedPool& pool_;
  const cuda::Stream stream_;
  std::vector<std::unique_ptr<Prepared>> prepared_;  // at most two, the last one used first
};

}  // namespace latentloop
