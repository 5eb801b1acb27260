// Scheduling of the simulated GPU's work: the order that streams, events and the waiting host guarantee.
//
// A clock is the progress of all streams, as a vector clock. Every piece of work has a clock that must be reached
// before it starts. Two pieces are in a guaranteed order if the clock of one includes the other.
#ifndef LATENTLOOP_TESTS_CUDA_SCHEDULER_H_
#define LATENTLOOP_TESTS_CUDA_SCHEDULER_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace fake_cuda {

using Clock = std::map<int, size_t>;  // by stream number: the number of finished pieces of work
using Run = std::function<int()>;     // returns a status

inline void merge(Clock& clock, const Clock& other) {
  for (const auto& [stream, number] : other) {
    size_t& reached = clock[stream];
    if (number > reached) reached = number;
  }
}

inline size_t progress(const Clock& clock, int stream) {
  const auto entry = clock.find(stream);
  return entry == clock.end() ? 0 : entry->second;
}

// One piece of work, the `number`-th of its stream. It starts when the clock `after` is reached.
struct Work {
  std::string text;
  int stream;
  size_t number;
  Clock after;
  Run run;

  bool is_after(const Work& other) const { return progress(after, other.stream) >= other.number; }
};

// The work of all streams. It runs when the host waits, as late as possible, in a random permitted order; or, if it is
// eager, as soon as it is enqueued.
class Scheduler {
 public:
  Scheduler(unsigned seed, bool is_eager) : random_(seed), is_eager_(is_eager) {}

  int new_stream() { return ++last_stream_; }

  // Returns the stream's next piece of work. `add` enqueues it.
  std::shared_ptr<Work> next(int stream, std::string text) {
    Clock after = queues_[stream].clock;
    merge(after, host_clock_);
    const size_t number = progress(after, stream) + 1;
    return std::make_shared<Work>(Work{std::move(text), stream, number, std::move(after), nullptr});
  }

  void add(std::shared_ptr<Work> work, Run run) {
    Queue& queue = queues_[work->stream];
    queue.clock = work->after;
    queue.clock[work->stream] = work->number;
    work->run = std::move(run);
    queue.pending.push_back(std::move(work));
    if (is_eager_) early_failure_ = std::max(early_failure_, run_before(Clock{queue.clock}));
  }

  // Returns an event after the stream's work so far.
  Clock record(int stream) { return queues_[stream].clock; }

  // Makes the stream's further work wait for an event.
  void wait(int stream, const Clock& event) { merge(queues_[stream].clock, event); }

  bool host_has_waited_for(const Work& work) const { return progress(host_clock_, work.stream) >= work.number; }

  // Runs the work before an event. Returns the status of the last work that failed, or 0.
  int host_waits(const Clock& event) {
    const int failure = run_before(event);
    merge(host_clock_, event);
    return std::max(failure, std::exchange(early_failure_, 0));
  }

  // Returns an event after all work of some streams.
  template <typename Streams>
  Clock record_all(const Streams& streams) {
    Clock clock;
    for (const int stream : streams) merge(clock, queues_[stream].clock);
    return clock;
  }

  std::vector<int> streams() const {
    std::vector<int> all;
    for (const auto& [stream, queue] : queues_) all.push_back(stream);
    return all;
  }

 private:
  // A stream's work, in order. `clock` is the clock for which its next piece of work waits.
  struct Queue {
    Clock clock;
    std::deque<std::shared_ptr<Work>> pending;
    size_t finished{0};
  };

  // Runs the work before an event. Returns the status of the last work that failed, or 0.
  int run_before(const Clock& event) {
    int failure = 0;
    for (std::vector<Queue*> ready; ready = ready_for(event), !ready.empty();) {
      Queue& queue = *ready[random_() % ready.size()];
      const std::shared_ptr<Work> work = std::move(queue.pending.front());
      queue.pending.pop_front();
      queue.finished = work->number;
      const Run run = std::move(work->run);
      work->run = nullptr;
      if (const int status = run()) failure = status;
    }
    return failure;
  }

  std::vector<Queue*> ready_for(const Clock& event) {
    std::vector<Queue*> ready;
    for (auto& [stream, queue] : queues_) {
      if (queue.finished < progress(event, stream) && !queue.pending.empty() &&
          is_reached(queue.pending.front()->after))
        ready.push_back(&queue);
    }
    return ready;
  }

  bool is_reached(const Clock& clock) {
    for (const auto& [stream, number] : clock) {
      if (queues_[stream].finished < number) return false;
    }
    return true;
  }

  std::mt19937 random_;
  const bool is_eager_;
  int early_failure_{0};  // of work that has run before the host has waited for it
  int last_stream_{0};
  Clock host_clock_;  // the work for which the host has waited
  std::map<int, Queue> queues_;
};

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_SCHEDULER_H_
