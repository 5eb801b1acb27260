// Creating and destroying samplers, and choosing their device.
#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "../cpu/backend.h"
#include "guard.h"
#include "structs.h"

namespace latentloop {

namespace {

constexpr int32_t kMostThreads{1024};  // each graph starts this many
constexpr std::array<const char*, 3> kOtherDevices{"tensorrt", "cuda",
                                                   "onnxruntime-tensorrt"};  // of the Python package

int available_threads() {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) == 0) return CPU_COUNT(&processors);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void check_device(const std::string& device) {
  if (device == "cpu" || device == "auto") return;
  const std::string kind = device.substr(0, device.find(':'));
  if (std::find(kOtherDevices.begin(), kOtherDevices.end(), kind) != kOtherDevices.end())
    throw Error(LL_DEVICE, text("device is '", device, "', but this library runs on the CPU only: use cpu or auto"));
  throw Error(LL_INVALID_ARGUMENT, text("device is '", device, "', expected cpu or auto"));
}

std::string checked_precision(const Manifest& manifest, const char* given) {
  const std::string precision{given == nullptr ? "float32" : given};
  const auto& known = manifest.precisions;
  if (std::find(known.begin(), known.end(), precision) != known.end()) return precision;
  std::string all;
  for (const std::string& name : known) all += (all.empty() ? "" : ", ") + name;
  throw Error(LL_INVALID_ARGUMENT, text("precision is '", precision, "', expected one that the bundle has: ", all));
}

std::shared_ptr<Sampler> create(const ll_bundle& bundle, const ll_sampler_params& params) {
  check_device(params.device == nullptr ? "auto" : params.device);
  if (params.threads < 0 || params.threads > kMostThreads)
    throw Error(LL_INVALID_ARGUMENT,
                text("threads is ", params.threads, ", expected from 1 to ", kMostThreads, ", or 0 for all"));
  const int threads = params.threads == 0 ? available_threads() : params.threads;
  std::string precision = checked_precision(bundle.bundle->manifest(), params.precision);
  auto backend = std::make_unique<CpuBackend>(bundle.sessions, std::move(precision), threads);
  return std::make_shared<Sampler>(bundle.bundle, std::move(backend));
}

}  // namespace

}  // namespace latentloop

ll_status ll_sampler_create(ll_bundle* bundle, const ll_sampler_params* params, ll_sampler** out) {
  return latentloop::guarded([=] {
    latentloop::require(out, "out");
    *out = nullptr;
    latentloop::require(bundle, "bundle");
    const auto oldest = offsetof(ll_sampler_params, precision) + sizeof(params->precision);
    *out = new ll_sampler{
        latentloop::create(*bundle, latentloop::read_params(params, ll_default_sampler_params(), oldest))};
  });
}

void ll_sampler_destroy(ll_sampler* sampler) {
  if (sampler == nullptr) return;
  sampler->sampler->state.cancel();
  delete sampler;
}

const char* ll_sampler_device(const ll_sampler* sampler) {
  return sampler == nullptr ? "" : sampler->sampler->backend->device().c_str();
}

void ll_cancel(ll_sampler* sampler) {
  if (sampler != nullptr) sampler->sampler->state.cancel();
}
