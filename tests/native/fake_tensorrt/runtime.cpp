#include "runtime.h"

#include <algorithm>
#include <stdexcept>

#include "engine.h"
#include "version.h"

namespace fake_tensorrt {

namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

Runtime::~Runtime() noexcept {
  if (*engines_ != 0) fake_cuda_violate("a runtime was destroyed before its engines");
}

ICudaEngine* Runtime::deserializeCudaEngine(void const* data, std::size_t size) noexcept {
  const int capability = fake_cuda_capability();
  if (capability == 0) return fail("Cuda Runtime (no context is current)");
  auto plan = read_plan(data, size);
  if (!plan) return fail("Serialization assertion magicTag == kPLAN_MAGIC_TAG failed");
  if (plan->library != library_name() || plan->version != library_version())
    return fail("Version tag does not match: " + plan->version + ", expected " + library_version());
  const std::string architecture = "sm" + std::to_string(capability);
  const auto& built_for = plan->architectures;
  if (std::find(built_for.begin(), built_for.end(), architecture) == built_for.end())
    return fail("the engine is for " + joined(built_for) + ", the device is " + architecture);
  try {
    return new Engine(std::move(*plan), logger_, engines_);
  } catch (const std::exception& error) {
    return fail(std::string(error.what()).find("Cuda Runtime") != std::string::npos
                    ? error.what()
                    : std::string("not simulated: ") + error.what());
  }
}

ICudaEngine* Runtime::fail(const std::string& text) {
  log_error(logger_, "IRuntime::deserializeCudaEngine: Error Code 1: " + text);
  return nullptr;
}

}  // namespace fake_tensorrt
