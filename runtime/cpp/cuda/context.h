// The CUDA context of a GPU in which a sampler works.
#pragma once

#include <memory>
#include <string>

#include "driver.h"

namespace latentloop::cuda {

// Returns the GPU's architecture, such as "sm90" for compute capability 9.0, without a context. Throws Error:
// LL_MISSING if there is no GPU of that number.
std::string architecture_of(int number);

// The context of the GPU that is current when the object is made, which is the caller's and has to outlive it;
// otherwise the GPU's primary context, which CUDA's runtime and other libraries use, too.
class GpuContext {
 public:
  explicit GpuContext(int number);
  ~GpuContext();
  GpuContext(const GpuContext&) = delete;
  GpuContext& operator=(const GpuContext&) = delete;

  const Driver& driver() const { return driver_; }
  int number() const { return number_; }
  Context handle() const { return handle_; }

 private:
  const Driver& driver_;
  const int number_;
  bool is_primary_{};
  Context handle_{};
};

// Makes a context current in this thread, and restores the caller's on destruction. Meanwhile this thread's calls do
// not end a capture that the program has begun.
class Current {
 public:
  explicit Current(const GpuContext& context);
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Driver& driver_;
  int mode_;
};

// Restores the caller's context for a function of the caller's, within the life of a Current.
class Suspended {
 public:
  explicit Suspended(const GpuContext& context);
  ~Suspended();
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

 private:
  const Driver& driver_;
  Context context_{};
};

// Returns the result of `function` with the context current. Failures of the driver name the GPU.
template <typename Function>
auto on_gpu(const GpuContext& context, Function function) {
  try {
    const Current current{context};
    return function();
  } catch (const Failure& failure) {
    throw Error(failure.status(), text("GPU ", context.number(), ": ", failure.what()));
  }
}

}  // namespace latentloop::cuda
