// Destroying a sampler while it runs, in its callback and from another thread, and closing bundles before samplers.
#include <atomic>
#include <thread>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

struct Run {
  ll_sampler* sampler;
  std::atomic<bool> has_begun{false};
};

void test_callback(const Opened& opened) {
  Run run{opened.new_sampler()};
  ll_sample_params params = request(2, 0, 1);
  params.user = &run;
  params.progress = [](const ll_progress*, void* user) {
    ll_sampler_destroy(static_cast<Run*>(user)->sampler);
    return 0;
  };
  Samples samples(opened, 2);
  REFUSED(LL_CANCELLED, "cancelled", samples.draw(run.sampler, params));
  REQUIRE(samples.finished == 0 && samples.untouched());
}

void test_thread(const Opened& opened) {
  Run run{opened.new_sampler(2)};
  ll_sample_params params = request(64, 0, 1);
  params.user = &run;
  params.progress = [](const ll_progress*, void* user) {
    static_cast<Run*>(user)->has_begun = true;
    return 0;
  };
  Samples samples(opened, 64);
  std::thread runner([&] { REFUSED(LL_CANCELLED, "cancelled", samples.draw(run.sampler, params)); });
  while (!run.has_begun) std::this_thread::yield();
  ll_sampler_destroy(run.sampler);
  runner.join();
  REQUIRE(samples.finished < 64);
}

void test_closed_bundle(const char* folder, const Samples& expected) {
  const Opened opened(folder);
  ll_sampler* second = opened.new_sampler();
  ll_bundle* bundle = nullptr;
  REQUIRE(ll_bundle_open(folder, &bundle) == LL_OK);
  ll_sampler *first = nullptr, *last = nullptr;
  REQUIRE(ll_sampler_create(bundle, nullptr, &first) == LL_OK);
  REQUIRE(ll_sampler_create(bundle, nullptr, &last) == LL_OK);
  ll_bundle_close(bundle);  // before the first graph is opened
  for (ll_sampler* sampler : {first, last, second}) {
    Samples samples(opened, 1);
    REQUIRE(samples.draw(sampler, request(1, 9)) == LL_OK);
    REQUIRE(samples.codes == expected.codes);
    ll_sampler_destroy(sampler);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const char* folder = embedding::folder(count, arguments);
  const Opened opened(folder);
  Samples expected(opened, 1);
  REQUIRE(expected.draw(opened.sampler, request(1, 9)) == LL_OK);
  for (int i = 0; i < 3; ++i) {
    test_callback(opened);
    test_thread(opened);
  }
  test_closed_bundle(folder, expected);
}
