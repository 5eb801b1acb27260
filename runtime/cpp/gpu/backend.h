// The backend on a GPU. Levels are drawn one after the other on one stream; encoder and decoder have their own.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#include "../bundles/bundle.h"
#include "codec.h"
#include "loop.h"

namespace latentloop {

class GpuBackend final : public Backend {
 public:
  // Makes a backend for the classifier, which runs on the CPU.
  using MakeClassifier = std::function<std::unique_ptr<Backend>()>;

  GpuBackend(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const cuda::GpuContext> context,
             std::shared_ptr<DeviceGraphs> graphs, MakeClassifier make_classifier);
  ~GpuBackend() override;

  const std::string& device() const override { return device_; }
  int64_t largest_batch() const override { return graphs_->largest_batch(); }
  void draw(const BatchInputs& inputs, const DrawCallbacks& callbacks) override;
  void rows(const LevelInputs& inputs, const AfterRow& after_row) override;
  void encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) override;
  std::unique_ptr<Decoding> decode(int64_t n, const std::vector<const int64_t*>& codes, int64_t wanted,
                                   uint8_t* images) override;
  void classify(int64_t n, const uint8_t* images, float* probabilities) override;
  void set_stream(void* stream) override;
  bool is_on_gpu(const void* array) const override;
  void copy(void* to, const void* from, size_t bytes) override;
  void interrupt() noexcept override;
  void resume() override;

 private:
  struct Work;  // what is on the GPU
  class GpuDecoding;

  template <typename Function>
  void with_loops(Function function);
  void forget_loops();
  DeviceLoop& begin(const LevelInputs& inputs, const DeviceTensor* upper, Staging& staging);
  void enqueue_level(size_t index, DeviceLoop& loop, const DrawCallbacks& callbacks);
  CodecArray array(const std::string& name, const void* memory, int64_t count) const;
  void check_callers_stream() const;

  const std::shared_ptr<const Bundle> bundle_;
  const std::shared_ptr<const cuda::GpuContext> context_;
  const std::shared_ptr<DeviceGraphs> graphs_;
  const MakeClassifier make_classifier_;
  const std::string device_;
  cuda::StreamHandle callers_{};  // the caller's stream
  std::unique_ptr<Work> work_;
  std::unique_ptr<Backend> classifier_;
  std::atomic<Backend*> interruptible_{};  // the classifier's, once it exists
};

}  // namespace latentloop
