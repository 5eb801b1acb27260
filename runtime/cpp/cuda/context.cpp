#include "context.h"

namespace latentloop::cuda {

std::string architecture_of(int number) {
  const Driver& driver = Driver::get();
  int count = 0, major = 0, minor = 0;
  driver.device_count(&count);
  if (number >= count)
    throw Error(LL_MISSING, text("device tensorrt:", number, ": there are ", count, " GPUs, counted from 0"));
  driver.device_attribute(&major, kCapabilityMajor, number);
  driver.device_attribute(&minor, kCapabilityMinor, number);
  return text("sm", major, minor);
}

GpuContext::GpuContext(int number) : driver_(Driver::get()), number_(number) {
  int current = -1;
  driver_.current_context(&handle_);
  if (handle_ != nullptr) driver_.current_device(&current);
  if (handle_ != nullptr && current == number) return;
  driver_.retain_primary(&handle_, number);
  is_primary_ = true;
}

GpuContext::~GpuContext() {
  if (is_primary_) driver_.release_primary.status(number_);
}

Current::Current(const GpuContext& context) : driver_(context.driver()), mode_(kCaptureRelaxed) {
  driver_.push_context(context.handle());
  driver_.exchange_capture_mode.status(&mode_);
}

Current::~Current() {
  Context popped;
  driver_.exchange_capture_mode.status(&mode_);
  driver_.pop_context.status(&popped);
}

Suspended::Suspended(const GpuContext& context) : driver_(context.driver()) { driver_.pop_context(&context_); }

Suspended::~Suspended() { driver_.push_context.status(context_); }

}  // namespace latentloop::cuda
