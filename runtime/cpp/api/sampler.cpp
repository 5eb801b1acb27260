// Creating and destroying samplers.
#include "devices.h"
#include "structs.h"

namespace latentloop {

namespace {

std::shared_ptr<Sampler> create(const ll_bundle& bundle, const ll_sampler_params& params) {
  const DeviceRequest request = checked_device(params.device, params.precision, params.threads);
  return std::make_shared<Sampler>(bundle.bundle, open_device(bundle, request));
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

ll_status ll_sampler_set_stream(ll_sampler* sampler, void* stream) {
  return latentloop::run(sampler, [=](latentloop::Sampler& idle) { idle.backend->set_stream(stream); });
}

void ll_cancel(ll_sampler* sampler) {
  if (sampler != nullptr) sampler->sampler->state.cancel();
}
