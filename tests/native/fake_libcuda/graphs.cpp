// Functions of the driver for captures and graphs. A graph has the work of one stream, and runs it in order.
#include <string>

#include "calls.h"

namespace {

using namespace fake_cuda;

int destroy(const std::string& text, const char* what, const Handles<GraphObject>& handles, const void* handle) {
  std::shared_ptr<GraphObject> object;
  if (const int status = find_object(text, what, handles, handle, object)) return status;
  object->destroyed = true;
  object->graph.reset();
  return kSuccess;
}

}  // namespace

CUDA(cuStreamBeginCapture_v2, void* handle, int mode) {
  CALL("cuStreamBeginCapture");
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(call.text(), handle, stream)) return status;
  if (address(handle) <= 1) return kCaptureUnsupported;
  if (address(handle) == 2)
    return simulation().violate("a capture of the per-thread default stream is not simulated", kNotSupported);
  if (stream->capture) return invalidate(*stream, kInvalidValue);
  stream->capture = std::make_shared<Capture>(Capture{{}, static_cast<Mode>(mode), std::this_thread::get_id()});
  return kSuccess;
}
CUDA(cuStreamEndCapture, void* handle, void** out) {
  const std::lock_guard lock{simulation().mutex};
  *out = nullptr;
  std::shared_ptr<Stream> stream;
  int status = find_stream("cuStreamEndCapture", handle, stream);
  const std::shared_ptr<Capture> capture = status == kSuccess ? std::move(stream->capture) : nullptr;
  if (stream) stream->capture.reset();
  if (status == kSuccess) status = !capture ? kCaptureUnmatched : capture->valid ? kSuccess : kCaptureInvalidated;
  if (capture && capture->mode != kRelaxed && capture->thread != std::this_thread::get_id())
    status = simulation().violate("cuStreamEndCapture: another thread began the capture", 908);  // ..._WRONG_THREAD
  const Call call{"cuStreamEndCapture", status == kSuccess ? "cuStreamEndCapture:graph" : "cuStreamEndCapture"};
  if (call.status() != kSuccess) return call.status();  // a planned failure: the capture has ended all the same
  if (status != kSuccess) return status;
  GraphObject object;
  object.context = current();
  object.graph = std::make_shared<const Graph>(std::move(capture->graph));
  return simulation().graphs.create(out, std::move(object)), kSuccess;
}
CUDA(cuThreadExchangeStreamCaptureMode, int* mode) {
  CALL("cuThreadExchangeStreamCaptureMode");
  const Mode before = thread().mode;
  thread().mode = static_cast<Mode>(*mode);
  return *mode = before, kSuccess;
}

CUDA(cuGraphInstantiateWithFlags, void** out, void* handle, uint64_t flags) {
  CALL("cuGraphInstantiateWithFlags", "cuGraphInstantiate");
  std::shared_ptr<GraphObject> graph;
  if (const int status = find_own(call.text(), "graph", simulation().graphs, handle, graph)) return status;
  if (flags != 0) return kNotSupported;
  return simulation().executables.create(out, GraphObject{*graph}), kSuccess;
}
CUDA(cuGraphDestroy, void* handle) {
  CALL("cuGraphDestroy");
  return destroy(call.text(), "graph", simulation().graphs, handle);
}
CUDA(cuGraphExecDestroy, void* handle) {
  CALL("cuGraphExecDestroy");
  if (disturbs_capture()) return kCaptureUnsupported;
  return destroy(call.text(), "executable graph", simulation().executables, handle);
}
CUDA(cuGraphLaunch, void* handle, void* stream) {
  CALL("cuGraphLaunch");
  std::shared_ptr<GraphObject> executable;
  if (const int status = find_own(call.text(), "executable graph", simulation().executables, handle, executable))
    return status;
  if (is_capturing(stream))
    return simulation().violate("cuGraphLaunch: the stream is being captured, which is not simulated", kNotSupported);
  const std::shared_ptr<const Graph> graph = executable->graph;
  std::vector<Access> accesses;
  for (const Node& node : *graph) accesses.insert(accesses.end(), node.accesses.begin(), node.accesses.end());
  const auto run = [graph] {
    for (const Node& node : *graph) {
      if (const int status = node.run()) return status;
    }
    return static_cast<int>(kSuccess);
  };
  return enqueue(call.text(), stream, merge_accesses(accesses), run, kIllegalAddress, Reach::kAllContexts);
}
