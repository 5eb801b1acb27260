// Streams, events and captures of the simulated device.
//
// Work of a stream runs only when something waits for it, so that a missing wait has a visible effect. Captured work
// runs with the launch of its graph.
#ifndef LATENTLOOP_TESTS_CUDA_STREAMS_H_
#define LATENTLOOP_TESTS_CUDA_STREAMS_H_

#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "device.h"

namespace fake_cuda {

enum Mode : int { kGlobal = 0, kThreadLocal = 1, kRelaxed = 2 };

using Run = std::function<int()>;

struct Node {
  std::vector<Range> memory;  // device memory that it accesses
  Run run;
};

using Graph = std::vector<Node>;

struct Capture {
  Graph graph;
  Mode mode;
  std::thread::id thread;
  bool valid{true};
};

struct Stream {
  std::vector<Run> work;
  size_t done{0};
  std::unique_ptr<Capture> capture;
};

struct Event {
  std::shared_ptr<Stream> stream;  // null: never recorded
  size_t until{0};                 // number of the stream's work items before it
  bool captured{false};
};

// Objects that calls create and destroy by handle.
template <typename T>
class Handles {
 public:
  template <typename H>
  int create(H** out, T value) {
    auto object = std::make_shared<T>(std::move(value));
    *out = reinterpret_cast<H*>(object.get());
    all_[object.get()] = std::move(object);
    return kSuccess;
  }

  std::shared_ptr<T> find(const void* handle) const {
    const auto entry = all_.find(handle);
    return entry == all_.end() ? nullptr : entry->second;
  }

  int destroy(const void* handle) { return all_.erase(handle) == 1 ? kSuccess : kInvalidHandle; }

  const std::map<const void*, std::shared_ptr<T>>& all() const { return all_; }

 private:
  std::map<const void*, std::shared_ptr<T>> all_;
};

inline Handles<Stream>& streams() {
  static Handles<Stream> handles;
  return handles;
}

inline Handles<Event>& events() {
  static Handles<Event> handles;
  return handles;
}

inline Handles<Graph>& graphs() {
  static Handles<Graph> handles;
  return handles;
}

inline Handles<Graph>& executables() {
  static Handles<Graph> handles;
  return handles;
}

inline int& failure() {  // status of failed asynchronous work; reported by all later waits
  static int status{kSuccess};
  return status;
}

inline Mode& thread_mode() {
  static thread_local Mode mode{kGlobal};
  return mode;
}

// Returns the stream of a handle: 0 and 1 are the legacy default stream, 2 the per-thread one; null if unknown.
inline std::shared_ptr<Stream> stream_of(const void* handle) {
  static const auto legacy = std::make_shared<Stream>(), per_thread = std::make_shared<Stream>();
  const Pointer number = address(handle);
  return number > 2 ? streams().find(handle) : number == 2 ? per_thread : legacy;
}

inline int run(Stream& stream, size_t until) {
  while (stream.done < until) {
    const int status = stream.work[stream.done++]();
    if (status != kSuccess) failure() = status;
  }
  return failure();
}

inline int run_everything() {
  for (uintptr_t handle = 1; handle <= 2; ++handle) {
    const auto stream = stream_of(host(handle));
    run(*stream, stream->work.size());
  }
  for (const auto& [handle, stream] : streams().all()) run(*stream, stream->work.size());
  return failure();
}

// Invalidates the stream's capture, if there is one, because of a call that is not permitted in it. Returns the status.
inline int invalidate(Stream& stream, Status status) {
  if (stream.capture) stream.capture->valid = false;
  return status;
}

// Returns whether a call without a stream is rejected because of a capture, and invalidates that capture.
inline bool disturbs_capture() {
  if (thread_mode() == kRelaxed) return false;
  bool disturbs = false;
  for (const auto& [handle, stream] : streams().all()) {
    if (!stream->capture) continue;
    const bool is_own = stream->capture->thread == std::this_thread::get_id();
    const bool guarded =
        is_own ? stream->capture->mode != kRelaxed : stream->capture->mode == kGlobal && thread_mode() == kGlobal;
    if (guarded) invalidate(*stream, kCaptureUnsupported);
    disturbs = disturbs || guarded;
  }
  return disturbs;
}

inline int enqueue(const void* handle, std::vector<Range> memory, Run work) {
  if (!in_context()) return kInvalidContext;
  const auto stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  for (const Range& range : memory) {
    if (!device_memory().contains(range)) return invalidate(*stream, kInvalidValue);
  }
  if (stream->capture) {
    stream->capture->graph.push_back({std::move(memory), std::move(work)});
  } else {
    stream->work.push_back(std::move(work));
  }
  return kSuccess;
}

inline int synchronize(const void* handle) {
  const auto stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  if (stream->capture) return invalidate(*stream, kCaptureUnsupported);
  return disturbs_capture() ? kCaptureUnsupported : run(*stream, stream->work.size());
}

inline int record(const void* handle, const void* stream_handle) {
  const auto event = events().find(handle);
  const auto stream = stream_of(stream_handle);
  if (!event || !stream) return kInvalidHandle;
  *event = {stream, stream->work.size(), stream->capture != nullptr};
  return kSuccess;
}

inline int wait(const void* stream_handle, const void* handle) {
  const auto event = events().find(handle);
  const auto stream = stream_of(stream_handle);
  if (!event || !stream) return kInvalidHandle;
  if (!event->stream) return kSuccess;
  if (event->captured) return event->stream == stream && stream->capture ? kSuccess : kNotSupported;
  if (stream->capture) return invalidate(*stream, kCaptureIsolation);
  return enqueue(stream_handle, {}, [before = *event] { return run(*before.stream, before.until); });
}

inline int synchronize_event(const void* handle) {
  const auto event = events().find(handle);
  if (!event) return kInvalidHandle;
  if (event->captured) return kCapturedEvent;
  if (disturbs_capture()) return kCaptureUnsupported;
  return event->stream ? run(*event->stream, event->until) : failure();
}

inline int begin_capture(const void* handle, Mode mode) {
  if (address(handle) <= 1) return kCaptureUnsupported;
  const auto stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  if (stream->capture) return invalidate(*stream, kInvalidValue);
  stream->capture.reset(new Capture{{}, mode, std::this_thread::get_id()});
  return kSuccess;
}

template <typename H>
int end_capture(const void* handle, H** out) {
  *out = nullptr;
  const auto stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  const auto capture = std::move(stream->capture);
  if (!capture) return kCaptureUnmatched;
  return capture->valid ? graphs().create(out, std::move(capture->graph)) : kCaptureInvalidated;
}

inline int launch(const void* handle, const void* stream_handle) {
  const auto graph = executables().find(handle);
  if (!graph) return kInvalidHandle;
  std::vector<Range> memory;
  for (const Node& node : *graph) memory.insert(memory.end(), node.memory.begin(), node.memory.end());
  for (const Range& range : memory) {
    if (!device_memory().contains(range)) return kIllegalAddress;
  }
  return enqueue(stream_handle, std::move(memory), [graph] {
    for (const Node& node : *graph) {
      if (const int status = node.run()) return status;
    }
    return static_cast<int>(kSuccess);
  });
}

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_STREAMS_H_
