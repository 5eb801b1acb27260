// Creating samplers: threads, devices, precisions, and structs of other sizes.
#include <climits>

#include "program.h"

using embedding::Opened;

namespace {

void refuse(const Opened& opened, ll_status status, const char* word, const ll_sampler_params& params) {
  ll_sampler* sampler = reinterpret_cast<ll_sampler*>(1);
  REFUSED(status, word, ll_sampler_create(opened.bundle, &params, &sampler));
  REQUIRE(sampler == nullptr);
}

void accept(const Opened& opened, const ll_sampler_params* params) {
  ll_sampler* sampler = nullptr;
  REQUIRE(ll_sampler_create(opened.bundle, params, &sampler) == LL_OK);
  REQUIRE(std::strcmp(ll_sampler_device(sampler), "cpu") == 0);
  ll_sampler_destroy(sampler);
}

void test_values(const Opened& opened) {
  for (const int32_t threads : {-1, 1025, INT_MAX, INT_MIN}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.threads = threads;
    refuse(opened, LL_INVALID_ARGUMENT, "threads is ", params);
  }
  for (const char* device : {"", "gpu", "CPU", "cpu ", "cpu:0", "cuda0", "%s%n"}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.device = device;
    refuse(opened, LL_INVALID_ARGUMENT, "device is ", params);
  }
  for (const char* device : {"cuda", "cuda:0", "tensorrt", "tensorrt:7", "onnxruntime-tensorrt"}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.device = device;
    refuse(opened, LL_DEVICE, device, params);
  }
  for (const char* precision : {"", "float16", "FLOAT32", "int8 "}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.precision = precision;
    refuse(opened, LL_INVALID_ARGUMENT, "precision is ", params);
  }
  for (const char* device : {"cpu", "auto"}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.device = device;
    params.threads = 1;
    params.precision = ll_bundle_precision(opened.bundle, ll_bundle_precisions(opened.bundle) - 1);
    accept(opened, &params);
  }
  accept(opened, nullptr);
}

void test_sizes(const Opened& opened) {
  for (const uint32_t size :
       {uint32_t{0}, uint32_t{1}, uint32_t{sizeof(ll_sampler_params) - 1}, uint32_t{4097}, uint32_t{UINT_MAX}}) {
    ll_sampler_params params = ll_default_sampler_params();
    params.size = size;
    refuse(opened, LL_INVALID_ARGUMENT, "size is ", params);
  }
  struct Later {
    ll_sampler_params known;
    char added[24];
  } later{ll_default_sampler_params(), {}};
  later.known.size = sizeof later;
  accept(opened, &later.known);
  later.added[23] = 1;
  refuse(opened, LL_INVALID_ARGUMENT, "does not know", later.known);
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments));
  test_values(opened);
  test_sizes(opened);
  ll_sampler* sampler = nullptr;
  REFUSED(LL_INVALID_ARGUMENT, "out is null", ll_sampler_create(opened.bundle, nullptr, nullptr));
  REFUSED(LL_INVALID_ARGUMENT, "bundle is null", ll_sampler_create(nullptr, nullptr, &sampler));
  REFUSED(LL_INVALID_ARGUMENT, "loaded already", ll_set_onnxruntime("elsewhere"));
  REFUSED(LL_INVALID_ARGUMENT, "loaded already", ll_set_onnxruntime(nullptr));
}
