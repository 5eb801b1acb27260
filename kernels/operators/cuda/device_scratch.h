// GPU memory for the duration of one call, from ONNX Runtime's allocator.
#pragma once

#include "../onnxruntime/runtime.h"

namespace latentloop {

constexpr const char* kScratchMemory{"Cuda"};

// The OrtMemoryInfo of one device.
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

// A scratch buffer. It is freed after the work that uses it is enqueued, maybe before this work runs. That is safe: the
// allocator is stream-aware and reuses the memory only for later work on the same stream, even if sessions run on
// several threads.
class DeviceScratch {
 public:
  DeviceScratch(Runtime runtime, const OrtKernelContext* context, const DeviceMemory& memory, size_t bytes)
      : runtime_(runtime) {
    runtime.call<ort::KernelContextGetAllocator>(context, memory.info(), &allocator_);
    try {
      runtime.call<ort::KernelContextGetScratchBuffer>(context, memory.info(), bytes, &data_);
    } catch (...) {
      runtime.release<ort::ReleaseAllocator>(allocator_);
      throw;
    }
  }
  DeviceScratch(const DeviceScratch&) = delete;
  DeviceScratch& operator=(const DeviceScratch&) = delete;
  ~DeviceScratch() {
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
