// LL_BUSY: from another thread and from within the progress callback, for every function that runs a sampler. The run
// itself is not disturbed.
#include <atomic>
#include <thread>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

struct Run {
  const Opened& opened;
  bool in_callback;
  int tries{0};
};

// Calls every function while the sampler runs.
void try_all(const Opened& opened) {
  Samples samples(opened, 1);
  const ll_sample_params params = request(1, 0);
  uint8_t* images = samples.images.data();
  const size_t bytes = samples.images.size();
  std::vector<double*> nats(opened.levels.size());
  ll_sampler* sampler = opened.sampler;
  std::vector<float> probabilities(ll_bundle_classes(opened.bundle));
  REFUSED(LL_BUSY, "running", samples.draw(sampler, params));
  REFUSED(LL_BUSY, "running", ll_sample(sampler, nullptr, nullptr, 0, nullptr, nullptr));
  REFUSED(LL_BUSY, "running",
          ll_sample_best(sampler, &params, 1, images, bytes, nullptr, nullptr, nullptr, nullptr, nullptr));
  REFUSED(LL_BUSY, "running", ll_encode(sampler, images, bytes, 1, samples.pointers.data()));
  REFUSED(LL_BUSY, "running", samples.decode(sampler, 1));
  REFUSED(LL_BUSY, "running", ll_log_likelihood(sampler, samples.inputs.data(), nullptr, 1, nats.data()));
  REFUSED(LL_BUSY, "running", ll_classify(sampler, images, bytes, 1, probabilities.data()));
  REQUIRE(samples.untouched() && samples.finished == 0);
  REQUIRE(std::strcmp(ll_sampler_device(sampler), "cpu") == 0);
}

int try_in_row(const ll_progress* progress, void* user) {
  auto* run = static_cast<Run*>(user);
  if (progress->row != 1) return 0;
  ++run->tries;
  if (run->in_callback) {
    try_all(run->opened);
  } else {
    std::thread(try_all, std::cref(run->opened)).join();
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments));
  Samples expected(opened, 2);
  REQUIRE(expected.draw(opened.sampler, request(2, 3)) == LL_OK);
  for (const bool in_callback : {true, false}) {
    Run run{opened, in_callback};
    ll_sample_params params = request(2, 3);
    params.progress = try_in_row;
    params.user = &run;
    Samples samples(opened, 2);
    REQUIRE(samples.draw(opened.sampler, params) == LL_OK && samples.finished == 2 && run.tries > 0);
    REQUIRE(samples.begins_like(expected, 2, 2));
  }

  // Threads that use one sampler without order: each call is busy or whole.
  std::atomic<int> whole{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        Samples samples(opened, 2);
        const ll_status status = samples.draw(opened.sampler, request(2, 3));
        REQUIRE(status == LL_OK ? samples.begins_like(expected, 2, 2) : status == LL_BUSY && samples.untouched());
        whole += status == LL_OK;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(whole > 0);
}
