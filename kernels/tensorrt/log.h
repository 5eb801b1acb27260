// Where the plugin says what is wrong: TensorRT's own log, once TensorRT has told where that is.
#pragma once

#include <NvInferRuntime.h>

#include <atomic>

namespace latentloop::tensorrt {

// TensorRT hands it over by a function without a context, so that it must be kept for the process.
inline std::atomic<nvinfer1::ILoggerFinder*>& logger_finder() {
  static std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
  return finder;
}

// Returns the status for a function that failed.
inline int32_t failed(const char* message) {
  nvinfer1::ILoggerFinder* finder = logger_finder();
  nvinfer1::ILogger* logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger != nullptr) logger->log(nvinfer1::ILogger::Severity::kERROR, message);
  return -1;
}

}  // namespace latentloop::tensorrt
