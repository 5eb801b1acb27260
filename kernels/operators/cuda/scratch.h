// Memory of the GPU for the time of one call, from ONNX Runtime's own allocator.
#pragma once

#include "../runtime.h"

namespace latentloop {

constexpr const char* kScratchMemory{"Cuda"};

// Where ONNX Runtime allocates on one device.
class DeviceMemory {
 public:
  DeviceMemory(Runtime runtime, int device) : runtime_(runtime) {
    constexpr int kDeviceAllocator{0}, kDefaultMemory{0};
    runtime.call<ort::CreateMemoryInfo>(kScratchMemory, kDeviceAllocator, device, kDefaultMemory, &info_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { runtime_.release<ort::ReleaseMemoryInfo>(info_); }

  const OrtMemoryInfo* info() const { return info_; }

 private:
  Runtime runtime_;
  OrtMemoryInfo* info_{nullptr};
};

// Freed as soon as the work that uses it is queued: the allocator knows the stream, and gives the memory to none but
// later work of the same stream, also where sessions run on several threads.
class Scratch {
 public:
  Scratch(Runtime runtime, const OrtKernelContext* context, const DeviceMemory& memory, size_t bytes)
      : runtime_(runtime) {
    runtime.call<ort::KernelContextGetAllocator>(context, memory.info(), &allocator_);
    try {
      runtime.call<ort::KernelContextGetScratchBuffer>(context, memory.info(), bytes, &data_);
    } catch (...) {
      runtime.release<ort::ReleaseAllocator>(allocator_);
      throw;
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    runtime_.release<ort::AllocatorFree>(allocator_, data_);
    runtime_.release<ort::ReleaseAllocator>(allocator_);
  }

  char* data() const { return static_cast<char*>(data_); }

 private:
  Runtime runtime_;
  OrtAllocator* allocator_{nullptr};
  void* data_{nullptr};
};

}  // namespace latentloop
