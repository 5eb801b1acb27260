// A fake CUDA runtime for the launcher and the adapters. It runs kernels on the CPU with the simulator in grid/. Device
// memory is host memory, work runs when it is enqueued, and a fault in a kernel becomes a CUDA error.
#pragma once

#include <cstring>
#include <exception>
#include <string>

#include "grid/launch.h"

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorLaunchFailure = 719 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
using cudaStream_t = struct Stream*;
using cudaEvent_t = struct Event*;

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace latentloop::grid {
inline thread_local std::string fault_message;  // of the last failed launch
}

inline const char* cudaGetErrorString(cudaError_t) { return latentloop::grid::fault_message.c_str(); }

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 3;
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** parameters, size_t shared,
                                    cudaStream_t) {
  if (grid.z != 1 || block.y != 1 || block.z != 1 || shared != 0) return cudaErrorInvalidValue;
  const latentloop::grid::Kernels kernels{{"kernel", reinterpret_cast<latentloop::grid::Kernel>(kernel)}};
  try {
    latentloop::grid::launch(kernels, "kernel", grid.x, static_cast<int>(grid.y), static_cast<int>(block.x),
                             *static_cast<const latentloop::nearest::Arguments*>(parameters[0]), 1);
  } catch (const std::exception& error) {
    latentloop::grid::fault_message = error.what();
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}
