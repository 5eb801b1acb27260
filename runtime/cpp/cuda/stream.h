// Streams, events, and captured work. The context has to be current when functions are called.
#pragma once

#include <memory>
#include <utility>

#include "driver.h"

namespace latentloop::cuda {

// An event after the work that its stream had when the event was made.
class Event {
 public:
  Event(const Driver& driver, StreamHandle stream);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void synchronize() const { driver_.synchronize_event(handle_); }

  // Makes later work of a stream wait for the event.
  void delay(StreamHandle stream) const { driver_.wait_event(stream, handle_, 0); }

 private:
  const Driver& driver_;
  EventHandle handle_{};
};

// A stream that is not ordered with the default stream. Its destructor waits for its work.
class Stream {
 public:
  explicit Stream(const Driver& driver);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Driver& driver() const { return driver_; }
  StreamHandle handle() const { return handle_; }

  // Waits until the work enqueued so far is done.
  void synchronize() const;
  void synchronize_quietly() const noexcept;  // for destructors: if waiting fails, no work runs any more

 private:
  const Driver& driver_;
  StreamHandle handle_{};
  EventHandle end_{};  // of synchronize(), which must not fail for want of memory
};

// Work of a stream that can be enqueued again as a whole.
class CapturedGraph {
 public:
  // Captures what `enqueue` enqueues on the stream, which does not run. The capture is thread-local: calls of this
  // thread that cannot be captured, such as an allocation, fail.
  template <typename Enqueue>
  CapturedGraph(const Stream& stream, Enqueue enqueue) : driver_(stream.driver()) {
    begin(stream.handle());
    try {
      enqueue();
    } catch (...) {
      abandon(stream.handle());
      throw;
    }
    finish(stream.handle());
  }
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  void launch(StreamHandle stream) const { driver_.launch_graph(executable_, stream); }

 private:
  void begin(StreamHandle stream);
  void abandon(StreamHandle stream) noexcept;
  void finish(StreamHandle stream);

  const Driver& driver_;
  int mode_{};  // of the thread, before the capture
  ExecutableHandle executable_{};
};

}  // namespace latentloop::cuda
