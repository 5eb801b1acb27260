// Opening and closing, also after failures, does not keep memory.
#include <malloc.h>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

size_t used() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// How much more memory is used after 4 calls than after 2.
template <typename Call>
size_t growth(Call call) {
  for (int i = 0; i < 2; ++i) call();
  const size_t before = used();
  for (int i = 0; i < 4; ++i) call();
  const size_t after = used();
  return after > before ? after - before : 0;
}

void use_bundle(const char* folder) {
  ll_bundle* bundle = nullptr;
  REQUIRE(ll_bundle_open(folder, &bundle) == LL_OK);
  ll_bundle_close(bundle);
}

void use_sampler(const char* folder) {
  const Opened opened(folder);
  Samples samples(opened, 1);
  REQUIRE(samples.draw(opened.sampler, request(1, 0)) == LL_OK);
}

void fail(const Opened& opened) {
  ll_bundle* bundle = nullptr;
  REFUSED(LL_BAD_BUNDLE, "missing", ll_bundle_open("missing", &bundle));
  ll_sampler_params params = ll_default_sampler_params();
  params.device = "cuda";
  ll_sampler* sampler = nullptr;
  REFUSED(LL_DEVICE, "cuda", ll_sampler_create(opened.bundle, &params, &sampler));
  REFUSED(LL_INVALID_ARGUMENT, "count", ll_encode(opened.sampler, nullptr, 0, -1, nullptr));
}

}  // namespace

int main(int count, char** arguments) {
  const char* folder = embedding::folder(count, arguments);
  REQUIRE(growth([=] { use_bundle(folder); }) == 0);
  const Opened opened(folder);
  REQUIRE(growth([&] { fail(opened); }) == 0);
  const size_t kept = growth([=] { use_sampler(folder); });
  std::printf("%zu bytes kept by 4 samplers\n", kept);
  REQUIRE(kept < 100'000);  // ONNX Runtime keeps some; the graphs of one sampler take megabytes
}
