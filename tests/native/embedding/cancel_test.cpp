// Cancelling a run from another thread, from a signal handler and from the progress callback: the call returns
// LL_CANCELLED, and the samples that it says are finished equal those of a run that was not cancelled.
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "program.h"

using embedding::Opened;
using embedding::request;
using embedding::Samples;

namespace {

constexpr int64_t kCount{6}, kBatch{2};

struct Expected {
  explicit Expected(const Opened& opened) : samples(opened, kCount) {
    REQUIRE(samples.draw(opened.sampler, request(kCount, 11, kBatch)) == LL_OK);
    REQUIRE(samples.finished == kCount);
  }
  Samples samples;
};

// A cancelled run, or one that ended before it was cancelled. Returns the number of finished samples.
int64_t check(const Samples& samples, ll_status status, const Expected& expected) {
  REQUIRE(status == LL_OK || status == LL_CANCELLED);
  REQUIRE(samples.finished % kBatch == 0 && (samples.finished == kCount) == (status == LL_OK));
  REQUIRE(samples.begins_like(expected.samples, samples.finished, kCount));
  if (status == LL_CANCELLED) REQUIRE(std::strstr(ll_last_error(), "cancelled") != nullptr);
  return samples.finished;
}

// Where a callback cancels: in this row of all rows of the run.
struct Place {
  ll_sampler* sampler;
  int row, rows{0};
  bool by_result;
};

int cancel_there(const ll_progress* progress, void* user) {
  auto* place = static_cast<Place*>(user);
  REQUIRE(progress->size == sizeof(ll_progress) && progress->images == kCount);
  if (++place->rows != place->row) return 0;
  if (place->by_result) return 1;
  ll_cancel(place->sampler);
  return 0;
}

void test_callback(const Opened& opened, const Expected& expected) {
  int rows = 0;
  for (const ll_level& level : opened.levels) rows += level.height;
  for (const bool by_result : {false, true}) {
    for (const int row : {1, rows, rows + 1, 3 * rows}) {
      Place place{opened.sampler, row, 0, by_result};
      ll_sample_params params = request(kCount, 11, kBatch);
      params.progress = cancel_there;
      params.user = &place;
      Samples samples(opened, kCount);
      const ll_status status = samples.draw(opened.sampler, params);
      REQUIRE(status == LL_CANCELLED && place.rows == row);
      REQUIRE(check(samples, status, expected) == (row - 1) / rows * kBatch);
    }
  }
}

void test_thread(const Opened& opened, const Expected& expected) {
  int cancelled = 0;
  for (int delay = 0; delay < 8; ++delay) {
    std::atomic<bool> has_begun{false}, has_ended{false};
    std::thread canceller([&] {
      while (!has_begun) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(5 * delay));
      while (!has_ended) ll_cancel(opened.sampler);
    });
    ll_sample_params params = request(kCount, 11, kBatch);
    params.user = &has_begun;
    params.progress = [](const ll_progress*, void* user) {
      *static_cast<std::atomic<bool>*>(user) = true;
      return 0;
    };
    Samples samples(opened, kCount);
    const ll_status status = samples.draw(opened.sampler, params);
    has_ended = true;
    canceller.join();
    check(samples, status, expected);
    cancelled += status == LL_CANCELLED;
  }
  REQUIRE(cancelled > 0);
}

// The codec has no callback: the canceller begins with the call, and the call must end early.
void test_codec(const Opened& opened, const Expected& expected) {
  constexpr int64_t kMany{512};
  Samples many(opened, kMany);
  for (size_t l = 0; l < opened.levels.size(); ++l)
    for (size_t i = 0; i < many.codes[l].size(); ++i)
      many.codes[l][i] = expected.samples.codes[l][i % expected.samples.codes[l].size()];
  std::vector<float> probabilities(kMany * static_cast<size_t>(ll_bundle_classes(opened.bundle)));
  const std::vector<int64_t> labels(kMany);
  const std::vector<double*> nats(opened.levels.size());
  const std::vector<std::function<ll_status()>> calls{
      [&] { return many.decode(opened.sampler, kMany); },
      [&] {
        const std::vector<int64_t*> unwanted(opened.levels.size());
        return ll_encode(opened.sampler, many.images.data(), many.images.size(), kMany, unwanted.data());
      },
      [&] { return ll_classify(opened.sampler, many.images.data(), many.images.size(), kMany, probabilities.data()); },
      [&] { return ll_log_likelihood(opened.sampler, many.inputs.data(), labels.data(), kMany, nats.data()); }};
  for (const auto& call : calls) {
    std::atomic<bool> has_ended{false};
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      while (!has_ended) {
        ll_cancel(opened.sampler);
        std::this_thread::yield();
      }
    });
    REFUSED(LL_CANCELLED, "cancelled", call());
    has_ended = true;
    canceller.join();
  }
}

std::atomic<ll_sampler*> interrupted{nullptr};
static_assert(std::atomic<ll_sampler*>::is_always_lock_free);

void test_signal(const Opened& opened, const Expected& expected) {
  int cancelled = 0;
  interrupted = opened.sampler;
  std::signal(SIGALRM, [](int) { ll_cancel(interrupted); });
  for (int attempt = 0; attempt < 6; ++attempt) {
    const itimerval every{{0, 1000}, {0, 1000 + 7000 * attempt}}, never{};
    REQUIRE(setitimer(ITIMER_REAL, &every, nullptr) == 0);
    Samples samples(opened, kCount);
    const ll_status status = samples.draw(opened.sampler, request(kCount, 11, kBatch));
    REQUIRE(setitimer(ITIMER_REAL, &never, nullptr) == 0);
    check(samples, status, expected);
    cancelled += status == LL_CANCELLED;
  }
  REQUIRE(cancelled > 0);
}

}  // namespace

int main(int count, char** arguments) {
  const Opened opened(embedding::folder(count, arguments), 2);
  const Expected expected(opened);
  test_callback(opened, expected);
  test_thread(opened, expected);
  test_codec(opened, expected);
  test_signal(opened, expected);
  Samples again(opened, kCount);
  REQUIRE(again.draw(opened.sampler, request(kCount, 11, kBatch)) == LL_OK);
  REQUIRE(again.begins_like(expected.samples, kCount, kCount));
}
