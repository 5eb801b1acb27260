// A runtime: it loads engines for the current device.
#ifndef LATENTLOOP_TESTS_TENSORRT_RUNTIME_H_
#define LATENTLOOP_TESTS_TENSORRT_RUNTIME_H_

#include <string>

#include "live.h"
#include "unsimulated_runtime.h"

namespace fake_tensorrt {

// The program's logger, which runtimes, engines and contexts use.
inline void log_error(ILogger& logger, const std::string& text) noexcept {
  logger.log(ILogger::Severity::kERROR, text.c_str());
}

class Runtime : public IRuntime, public UnsimulatedRuntime, Counted<Runtime> {
 public:
  using Counted<Runtime>::live;

  explicit Runtime(ILogger& logger) : logger_(logger) { mImpl = this; }
  ~Runtime() noexcept override;

  IRuntime* getPImpl() noexcept override { return this; }
  // Returns null, with an error in the log, if TensorRT would not run the engine on the current device.
  ICudaEngine* deserializeCudaEngine(void const* data, std::size_t size) noexcept override;
  ILogger* getLogger() const noexcept override { return &logger_; }

 private:
  ICudaEngine* fail(const std::string& text);

  ILogger& logger_;
  Children engines_{std::make_shared<std::atomic<int>>(0)};
};

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_RUNTIME_H_
