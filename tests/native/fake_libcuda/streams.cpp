// Functions of the driver for streams and events.
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

template <typename T>
int create(Handles<T>& handles, void** out, T value) {
  value.context = current();
  return handles.create(out, std::move(value)), kSuccess;
}

}  // namespace

CUDA(cuStreamCreate, void** out, unsigned flags) {
  CALL("cuStreamCreate", flags == 1 ? "cuStreamCreate:NON_BLOCKING" : "cuStreamCreate");
  if (const int status = check_context(call.text())) return status;
  Stream stream;
  stream.number = simulation().scheduler.new_stream();
  stream.blocking = flags != 1;
  return create(simulation().streams, out, std::move(stream));
}
CUDA(cuStreamDestroy_v2, void* handle) {
  CALL("cuStreamDestroy");
  if (disturbs_capture()) return kCaptureUnsupported;
  std::shared_ptr<Stream> stream;
  if (const int status = find_object(call.text(), "stream", simulation().streams, handle, stream)) return status;
  if (stream->capture) return simulation().violate("cuStreamDestroy: the stream is being captured", kInvalidValue);
  return stream->destroyed = true, kSuccess;  // its work goes on
}
CUDA(cuStreamGetCtx, void* handle, void** out) {
  CALL("cuStreamGetCtx");
  std::shared_ptr<Stream> stream;
  if (address(handle) <= 2) return *out = current().get(), check_context(call.text());
  if (const int status = find_object(call.text(), "stream", simulation().streams, handle, stream)) return status;
  return *out = stream->context.get(), kSuccess;
}
CUDA(cuStreamIsCapturing, void* handle, int* out) {
  CALL("cuStreamIsCapturing");
  if (address(handle) <= 2) return *out = 0, check_context(call.text());
  std::shared_ptr<Stream> stream;
  if (const int status = find_object(call.text(), "stream", simulation().streams, handle, stream)) return status;
  return *out = stream->capture ? 1 : 0, kSuccess;
}
CUDA(cuStreamSynchronize, void* handle) {
  CALL("cuStreamSynchronize");
  return synchronize(call.text(), handle);
}
CUDA(cuStreamWaitEvent, void* stream_handle, void* handle, unsigned) {
  CALL("cuStreamWaitEvent");
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(call.text(), stream_handle, stream)) return status;
  std::shared_ptr<Event> event;
  if (const int status = find_object(call.text(), "event", simulation().events, handle, event)) return status;
  if (event->captured) {
    if (stream->capture && event->capture.lock() == stream->capture) return kSuccess;
    return invalidate(*stream, simulation().violate("cuStreamWaitEvent: the event was recorded in a capture to which "
                                                    "the stream does not belong",
                                                    kNotSupported));
  }
  if (stream->capture && !event->clock.empty()) return invalidate(*stream, kCaptureIsolation);
  simulation().scheduler.wait(stream->number, event->clock);
  return kSuccess;
}

CUDA(cuEventCreate, void** out, unsigned) {
  CALL("cuEventCreate");
  if (const int status = check_context(call.text())) return status;
  return create(simulation().events, out, Event{});
}
CUDA(cuEventRecord, void* handle, void* stream_handle) {
  CALL("cuEventRecord");
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(call.text(), stream_handle, stream)) return status;
  std::shared_ptr<Event> event;
  if (const int status = find_own(call.text(), "event", simulation().events, handle, event)) return status;
  event->captured = stream->capture != nullptr;
  event->capture = stream->capture;
  event->clock = event->captured ? Clock{} : progress_of(*stream);
  return kSuccess;
}
CUDA(cuEventSynchronize, void* handle) {
  CALL("cuEventSynchronize");
  std::shared_ptr<Event> event;
  if (const int status = find_object(call.text(), "event", simulation().events, handle, event)) return status;
  if (event->captured) {
    if (const auto capture = event->capture.lock()) capture->valid = false;
    return kCapturedEvent;
  }
  return disturbs_capture() ? static_cast<int>(kCaptureUnsupported) : host_waits(event->clock);
}
CUDA(cuEventDestroy_v2, void* handle) {
  CALL("cuEventDestroy");
  std::shared_ptr<Event> event;
  if (const int status = find_object(call.text(), "event", simulation().events, handle, event)) return status;
  return event->destroyed = true, kSuccess;
}
