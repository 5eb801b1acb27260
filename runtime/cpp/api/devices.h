// Choosing the device of a sampler, and what this build knows of devices.
#pragma once

#include <memory>
#include <string>

#include "../backend.h"
#include "guard.h"

namespace latentloop {

struct DeviceRequest {
  std::string name;  // "auto", "cpu" or "tensorrt"
  int number;        // of the GPU
  std::string precision;
  int threads;  // of the CPU
};

// Returns the caller's wishes, checked as far as they do not depend on a bundle. Throws Error: LL_INVALID_ARGUMENT, or
// LL_DEVICE for a device that this build cannot use. `device` and `precision` can be null.
DeviceRequest checked_device(const char* device, const char* precision, int threads);

// Opens the device: with "auto" a GPU if it can be used, else the CPU. Throws Error.
std::unique_ptr<Backend> open_device(const ll_bundle& bundle, const DeviceRequest& request);

// Returns an empty collection of engines; null in a build without TensorRT.
std::shared_ptr<LoadedEngines> new_loaded_engines();

// Sets where TensorRT's library is. Throws Error: LL_DEVICE in a build without TensorRT.
void set_engine_library(const char* path);

}  // namespace latentloop
