// Samplers of one bundle on threads of their own, which share its graphs, and of a bundle per thread: the same results
// as one after the other.
#include <atomic>
#include <memory>
#include <thread>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

constexpr int64_t kCount{2};
constexpr size_t kThreads{2};

// What one thread does with its sampler.
struct Work {
  Work(const Opened& opened, uint64_t seed)
      : seed(seed), drawn(opened, kCount), decoded(opened, kCount), best(opened, kCount) {}

  void run(ll_sampler* sampler) {
    const ll_sample_params params = request(kCount, seed);
    REQUIRE(drawn.draw(sampler, params) == LL_OK);
    decoded.codes = drawn.codes;
    for (size_t l = 0; l < decoded.codes.size(); ++l) decoded.inputs[l] = decoded.codes[l].data();
    REQUIRE(decoded.decode(sampler, kCount) == LL_OK);
    REQUIRE(decoded.images == drawn.images);
    REQUIRE(ll_sample_best(sampler, &params, 2, best.images.data(), best.images.size(), best.pointers.data(), seeds,
                           labels, confidence, &best.finished) == LL_OK);
  }
  void require_same(const Work& other) const {
    REQUIRE(drawn.begins_like(other.drawn, kCount, kCount) && best.begins_like(other.best, kCount, kCount));
    for (int64_t i = 0; i < kCount; ++i)
      REQUIRE(seeds[i] == other.seeds[i] && labels[i] == other.labels[i] && confidence[i] == other.confidence[i]);
  }

  uint64_t seed;
  Samples drawn, decoded, best;
  uint64_t seeds[kCount];
  int64_t labels[kCount];
  float confidence[kCount];
};

}  // namespace

int main(int count, char** arguments) {
  const char* folder = embedding::folder(count, arguments);
  const Opened together(folder);
  std::vector<std::unique_ptr<Work>> parallel;
  for (size_t thread = 0; thread < kThreads; ++thread)
    parallel.push_back(std::make_unique<Work>(together, 100 * thread));
  std::atomic<size_t> ready{0};
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const Opened own(folder);
      ll_sampler* sampler = together.new_sampler();
      Work alone(own, 100 * thread);
      for (++ready; ready < kThreads;) std::this_thread::yield();
      alone.run(own.sampler);  // loads graphs at the same time as the other thread, also below
      for (int i = 0; i < 2; ++i) parallel[thread]->run(sampler);
      alone.require_same(*parallel[thread]);
      ll_sampler_destroy(sampler);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& expected : parallel) {
    Work work(together, expected->seed);
    work.run(together.sampler);
    work.require_same(*expected);
  }
}
