// Error messages of the plugin, in TensorRT's log.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>

namespace latentloop::tensorrt {

// The logger finder that TensorRT passes to setLoggerFinder. A global, because that function has no context argument.
inline std::atomic<nvinfer1::ILoggerFinder*>& logger_finder() {
  static std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
  return finder;
}

// Logs the message, if there is a logger, and returns the status of a failed function.
inline int32_t fail(const char* message) {
  nvinfer1::ILoggerFinder* finder = logger_finder();
  nvinfer1::ILogger* logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger != nullptr) logger->log(nvinfer1::ILogger::Severity::kERROR, message);
  return -1;
}

}  // namespace latentloop::tensorrt
