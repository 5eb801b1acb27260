#include "devices.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "../cpu/backend.h"
#include "../io/log.h"
#include "../io/quoting.h"
#ifdef LATENTLOOP_TENSORRT
#include "../tensorrt/opening.h"
#endif

namespace latentloop {

namespace {

constexpr int32_t kMostThreads{1024};  // each graph starts this many
constexpr size_t kMostDigits{3};       // of the number of a GPU
constexpr const char* kWithoutTensorRt{
    "this library was built without TensorRT, and runs on the CPU only: use cpu or auto, or build it with "
    "-DLATENTLOOP_TENSORRT=ON"};

#ifdef LATENTLOOP_TENSORRT
constexpr bool kHasTensorRt{true};
constexpr const char* kDevices{"auto, cpu or tensorrt, the last optionally with the number of a GPU, as in tensorrt:1"};
#else
constexpr bool kHasTensorRt{false};
constexpr const char* kDevices{"cpu or auto"};
#endif

int available_threads() {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) == 0) return CPU_COUNT(&processors);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Returns the number of the GPU in a device's name: 0 without one, -1 if it is not a number.
int number_of(const std::string& device) {
  const size_t colon = device.find(':');
  if (colon == device.npos) return 0;
  const std::string digits = device.substr(colon + 1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (digits.empty() || digits.size() > kMostDigits || !std::all_of(digits.begin(), digits.end(), is_digit)) return -1;
  return std::stoi(digits);
}

std::unique_ptr<Backend> open_cpu(const ll_bundle& bundle, const DeviceRequest& request) {
  const auto& known = bundle.bundle->manifest().precisions;
  if (std::find(known.begin(), known.end(), request.precision) == known.end())
    throw Error(LL_INVALID_ARGUMENT, text("precision is ", in_quotes(request.precision),
                                          ", expected one that the bundle has: ", joined(known)));
  return std::make_unique<CpuBackend>(bundle.sessions, request.precision, request.threads);
}

#ifdef LATENTLOOP_TENSORRT

std::unique_ptr<Backend> open_gpu(const ll_bundle& bundle, const DeviceRequest& request) {
  const auto make_classifier = [sessions = bundle.sessions, threads = request.threads] {
    return std::make_unique<CpuBackend>(sessions, "float32", threads);
  };
  return open_engines(bundle.bundle, *bundle.engines, request.number, request.precision, make_classifier);
}

std::unique_ptr<Backend> open_best(const ll_bundle& bundle, const DeviceRequest& request) {
  std::string reason;
  try {
    return open_gpu(bundle, request);
  } catch (const Error& error) {
    if (error.status() == LL_OUT_OF_MEMORY) throw;
    reason = error.what();
  }
  try {
    auto backend = open_cpu(bundle, request);
    log(LL_LOG_INFO, "device cpu, because engines cannot be used: " + reason);
    return backend;
  } catch (const Error& error) {
    throw Error(error.status(), text(error.what(), "; engines cannot be used: ", reason));
  }
}

#else

std::unique_ptr<Backend> open_gpu(const ll_bundle&, const DeviceRequest&) {
  throw Error(LL_DEVICE, kWithoutTensorRt);  // checked_device() has refused the request already
}

std::unique_ptr<Backend> open_best(const ll_bundle& bundle, const DeviceRequest& request) {
  return open_cpu(bundle, request);
}

#endif

}  // namespace

DeviceRequest checked_device(const char* device, const char* precision, int threads) {
  constexpr std::array<const char*, 3> kOthers{"tensorrt", "cuda", "onnxruntime-tensorrt"};  // of the Python package
  const std::string wanted{device == nullptr ? "auto" : device}, name = wanted.substr(0, wanted.find(':'));
  const bool is_tensorrt = kHasTensorRt && name == "tensorrt" && number_of(wanted) >= 0;
  if (wanted != "cpu" && wanted != "auto" && !is_tensorrt) {
    const bool is_other = std::find(kOthers.begin(), kOthers.end(), name) != kOthers.end();
    if (is_other && !kHasTensorRt)
      throw Error(LL_DEVICE, text("device is ", in_quotes(wanted), ", but ", kWithoutTensorRt));
    if (is_other && name != "tensorrt")
      throw Error(LL_DEVICE,
                  text("device is ", in_quotes(wanted), ", which only the Python package has, expected ", kDevices));
    throw Error(LL_INVALID_ARGUMENT, text("device is ", in_quotes(wanted), ", expected ", kDevices));
  }
  if (threads < 0 || threads > kMostThreads)
    throw Error(LL_INVALID_ARGUMENT,
                text("threads is ", threads, ", expected from 1 to ", kMostThreads, ", or 0 for all"));
  return {name, number_of(wanted), precision == nullptr ? "float32" : precision,
          threads == 0 ? available_threads() : threads};
}

std::unique_ptr<Backend> open_device(const ll_bundle& bundle, const DeviceRequest& request) {
  if (request.name == "cpu") return open_cpu(bundle, request);
  return request.name == "auto" ? open_best(bundle, request) : open_gpu(bundle, request);
}

#ifdef LATENTLOOP_TENSORRT
std::shared_ptr<LoadedEngines> new_loaded_engines() { return std::make_shared<LoadedEngines>(); }
void set_engine_library(const char* path) { set_tensorrt(path); }
#else
std::shared_ptr<LoadedEngines> new_loaded_engines() { return nullptr; }
void set_engine_library(const char*) { throw Error(LL_DEVICE, kWithoutTensorRt); }
#endif

}  // namespace latentloop
