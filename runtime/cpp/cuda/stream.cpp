#include "stream.h"

namespace latentloop::cuda {

Event::Event(const Driver& driver, StreamHandle stream) : driver_(driver) {
  driver_.create_event(&handle_, kDisableTiming);
  try {
    driver_.record_event(handle_, stream);
  } catch (...) {
    driver_.destroy_event.status(handle_);
    throw;
  }
}

Event::~Event() { driver_.destroy_event.status(handle_); }

Stream::Stream(const Driver& driver) : driver_(driver) {
  driver_.create_event(&end_, kDisableTiming);
  if (const int status = driver_.create_stream.status(&handle_, kNonBlocking)) {
    driver_.destroy_event.status(end_);
    fail("cuStreamCreate", status);
  }
}

Stream::~Stream() {
  synchronize_quietly();
  driver_.destroy_stream.status(handle_);
  driver_.destroy_event.status(end_);
}

void Stream::synchronize() const {
  driver_.record_event(end_, handle_);
  driver_.synchronize_event(end_);
}

void Stream::synchronize_quietly() const noexcept { driver_.synchronize_stream.status(handle_); }

CapturedGraph::~CapturedGraph() { driver_.destroy_executable.status(executable_); }

void CapturedGraph::begin(StreamHandle stream) {
  mode_ = kCaptureThreadLocal;
  driver_.exchange_capture_mode(&mode_);
  const int status = driver_.begin_capture.status(stream, kCaptureThreadLocal);
  if (status == kSuccess) return;
  driver_.exchange_capture_mode.status(&mode_);
  fail("cuStreamBeginCapture", status);
}

void CapturedGraph::abandon(StreamHandle stream) noexcept {
  GraphHandle graph = nullptr;
  driver_.exchange_capture_mode.status(&mode_);
  if (driver_.end_capture.status(stream, &graph) == kSuccess && graph != nullptr) driver_.destroy_graph.status(graph);
}

void CapturedGraph::finish(StreamHandle stream) {
  GraphHandle graph = nullptr;
  driver_.exchange_capture_mode.status(&mode_);
  driver_.end_capture(stream, &graph);
  const int status = driver_.instantiate.status(&executable_, graph, 0);
  driver_.destroy_graph.status(graph);
  if (status != kSuccess) fail("cuGraphInstantiate", status);
}

}  // namespace latentloop::cuda
