// ll_cancel has no effect on later calls: short runs, and another thread that cancels around their ends. A run may only
// be cancelled by a call of ll_cancel that was under way at some time during the run, and it fails in no other way.
#include <atomic>
#include <random>
#include <thread>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

constexpr int kRuns{2000};

struct Shared {
  std::atomic<int> runs{0};                    // begun
  std::atomic<int64_t> begun{0}, returned{0};  // calls of ll_cancel
  std::atomic<bool> has_ended{false};
};

void wait(std::minstd_rand& random, int most) {
  for (int i = static_cast<int>(random() % most); i > 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Cancels every other run, sooner or later, so that the one after it shows an effect that is too late.
void cancel_runs(Shared& shared, ll_sampler* sampler, int longest) {
  std::minstd_rand random;
  for (int run = 0; !shared.has_ended;) {
    const int current = shared.runs;
    if (current == run || current % 2 == 0) {
      std::this_thread::yield();
      continue;
    }
    run = current;
    wait(random, longest);
    ++shared.begun;
    ll_cancel(sampler);
    ++shared.returned;
  }
}

struct Counts {
  int cancelled{0}, undisturbed{0};
};

// Runs `call` many times while another thread cancels, which waits for up to `longest` steps.
template <typename Call>
Counts race(const Opened& opened, int longest, Call call) {
  Shared shared;
  Counts counts;
  std::thread canceller([&] { cancel_runs(shared, opened.sampler, longest); });
  for (int run = 0; run < kRuns; ++run) {
    const int64_t returned = shared.returned, begun = shared.begun;
    ++shared.runs;
    const ll_status status = call();
    const bool is_disturbed = returned != begun || shared.begun != begun;
    if (status != LL_OK) REFUSED(LL_CANCELLED, "cancelled", status);
    if (!is_disturbed) REQUIRE(status == LL_OK);
    counts.cancelled += status == LL_CANCELLED;
    counts.undisturbed += !is_disturbed;
  }
  shared.has_ended = true;
  canceller.join();
  std::printf("%d runs: %d cancelled, %d without a call of ll_cancel\n", kRuns, counts.cancelled, counts.undisturbed);
  return counts;
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments));
  Samples drawn(opened, 1), samples(opened, 1);
  REQUIRE(drawn.draw(opened.sampler, request(1, 0)) == LL_OK);
  for (size_t l = 0; l < opened.levels.size(); ++l) samples.codes[l] = drawn.codes[l];
  for (size_t l = 0; l < opened.levels.size(); ++l) samples.inputs[l] = samples.codes[l].data();
  for (int i = 0; i < 100; ++i) ll_cancel(opened.sampler);  // nothing runs
  const auto decode = [&] { return samples.decode(opened.sampler, 1); };
  std::vector<float> probabilities(ll_bundle_classes(opened.bundle));
  const auto classify = [&] {
    return ll_classify(opened.sampler, drawn.images.data(), drawn.images.size(), 1, probabilities.data());
  };
  REQUIRE(decode() == LL_OK && classify() == LL_OK);
  const Counts short_runs = race(opened, 20'000, classify), long_runs = race(opened, 2'000'000, decode);
  REQUIRE(short_runs.cancelled > 0 && short_runs.undisturbed > 0 && long_runs.undisturbed > 0);
  REQUIRE(decode() == LL_OK && samples.images == drawn.images);
}
