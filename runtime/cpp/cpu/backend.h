// The backend on the CPU: ONNX Runtime's sessions over memory of the host.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#include "loop.h"

namespace latentloop {

class CpuBackend final : public Backend {
 public:
  CpuBackend(std::shared_ptr<Sessions> sessions, std::string precision, int threads);

  const std::string& device() const override { return device_; }
  int64_t largest_batch() const override { return kLargestBatch; }
  void draw(const BatchInputs& inputs, const DrawCallbacks& callbacks) override;
  void rows(const LevelInputs& inputs, const AfterRow& after_row) override;
  void encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) override;
  std::unique_ptr<Decoding> decode(int64_t n, const std::vector<const int64_t*>& codes, int64_t wanted,
                                   uint8_t* images) override;
  void classify(int64_t n, const uint8_t* images, float* probabilities) override;
  void set_stream(void* stream) override;
  bool is_on_gpu(const void*) const override { return false; }
  void copy(void* to, const void* from, size_t bytes) override;
  void interrupt() noexcept override { options_.stop(); }
  void resume() override { options_.resume(); }

 private:
  const std::shared_ptr<Sessions> sessions_;
  const Manifest& manifest_;
  const std::string device_{"cpu"}, precision_;
  const int threads_;
  RunOptions options_;
  std::map<size_t, std::unique_ptr<PriorLoop>> loops_;  // the last one of each level
  std::vector<float> decoded_;                          // kept for the next batch, like
  std::map<size_t, std::vector<int64_t>> unwanted_;     // codes of levels,
  std::vector<uint8_t> padded_;                         // the images of a batch of which only some are wanted
  std::shared_ptr<const Session> encoder_, decoder_, classifier_;
};

}  // namespace latentloop
