#include "enqueuing.h"

#include <cstdio>

#include "page_locked.h"

namespace fake_cuda {

namespace {

std::string hexadecimal(Pointer at) {
  char out[32];
  std::snprintf(out, sizeof out, "0x%llx", static_cast<unsigned long long>(at));
  return out;
}

// Sets `found` to the allocation of an access. Returns `invalid` for one that is not permitted.
int locate(const std::string& text, const Access& access, int invalid, Reach reach,
           std::shared_ptr<Allocation>& found) {
  Simulation& all = simulation();
  const std::string head = text + ": " + access.name;
  found = all.allocations.find(access.pointer, access.size);
  if (!found)
    return all.violate(head + " of " + std::to_string(access.size) + " bytes at " + hexadecimal(access.pointer) +
                           " is not within one allocation",
                       invalid);
  if (found->freed) return all.violate(head + " was freed", invalid);
  if (found->context->destroyed) return all.violate(head + " is of a context that was destroyed", invalid);
  const bool is_host = found->kind == MemoryKind::kHost;
  if (is_host != access.host)
    return all.violate(
        head + (is_host ? " is host memory, expected GPU memory" : " is GPU memory, expected host memory"), invalid);
  if (is_host) return kSuccess;  // all contexts can use page-locked memory
  if (found->context->device != current()->device)
    return all.violate(head + " is on device " + std::to_string(found->context->device) + ", current is " +
                           std::to_string(current()->device),
                       invalid);
  if (reach == Reach::kOwnContext && found->context != current())
    return all.violate(head + " is memory of another context than the current one", invalid);
  return kSuccess;
}

// Makes a stream wait for the work that the legacy default stream's rules put before its next work.
void wait_as_default_streams_do(const Stream& stream) {
  Simulation& all = simulation();
  if (!stream.blocking) return;
  const Context& context = *stream.context;
  if (&stream != context.legacy.get()) {
    if (context.legacy) all.scheduler.wait(stream.number, all.scheduler.record(context.legacy->number));
    return;
  }
  for (const auto& [handle, other] : all.streams.all()) {  // also destroyed ones: their work goes on
    if (other->blocking && other->context.get() == &context)
      all.scheduler.wait(stream.number, all.scheduler.record(other->number));
  }
  for (const auto& [id, other] : context.per_thread)
    all.scheduler.wait(stream.number, all.scheduler.record(other->number));
}

std::shared_ptr<Stream> default_stream(std::shared_ptr<Stream>& place) {
  if (!place) {
    place = std::make_shared<Stream>();
    place->context = current();
    place->number = simulation().scheduler.new_stream();
  }
  return place;
}

}  // namespace

int check_context(const std::string& text) {
  if (!current()) return kInvalidContext;
  if (current()->destroyed)
    return simulation().violate(text + ": the current context was destroyed", kContextIsDestroyed);
  return kSuccess;
}

int find_stream(const std::string& text, const void* handle, std::shared_ptr<Stream>& found) {
  if (const int status = check_context(text)) return status;
  const Pointer number = address(handle);
  if (number > 2) return find_own(text, "stream", simulation().streams, handle, found);
  found = default_stream(number == 2 ? current()->per_thread[std::this_thread::get_id()] : current()->legacy);
  return kSuccess;
}

int enqueue(const std::string& text, const void* handle, std::vector<Access> accesses, Run run, int invalid,
            Reach reach) {
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(text, handle, stream)) return status;
  std::vector<std::shared_ptr<Allocation>> located(accesses.size());
  for (size_t i = 0; i < accesses.size(); ++i) {
    if (accesses[i].size == 0) continue;
    if (const int status = locate(text, accesses[i], invalid, reach, located[i])) return invalidate(*stream, status);
  }
  if (stream->capture) {
    stream->capture->graph.push_back({std::move(accesses), std::move(run)});
    return kSuccess;
  }

  Simulation& all = simulation();
  wait_as_default_streams_do(*stream);
  const auto work = all.scheduler.next(stream->number, text);
  for (size_t i = 0; i < accesses.size(); ++i) {
    if (!located[i]) continue;
    const size_t first = accesses[i].pointer - located[i]->pointer;
    for (const Work* other : located[i]->history.conflicts(first, accesses[i].size, accesses[i].writes)) {
      if (!work->is_after(*other))
        return all.fail(text + ": " + accesses[i].name + ": a race with " + other->text + ", nothing orders the two");
    }
  }
  std::vector<Run> steps;
  for (size_t i = 0; i < accesses.size(); ++i) {
    if (located[i] && accesses[i].host) steps.push_back(watch_copy(text, accesses[i], accesses, located[i]));
  }
  for (size_t i = 0; i < accesses.size(); ++i) {
    if (located[i])
      located[i]->history.add(accesses[i].pointer - located[i]->pointer, accesses[i].size, accesses[i].writes, work);
  }
  steps.push_back(std::move(run));
  all.scheduler.add(work, [text, steps = std::move(steps)] {
    for (const Run& step : steps) {
      if (const int status = step()) return simulation().violate(text + ": failed", status);
    }
    return static_cast<int>(kSuccess);
  });
  return kSuccess;
}

bool is_capturing(const void* handle) {
  const auto stream = simulation().streams.find(handle);
  return stream && stream->capture;
}

int invalidate(Stream& stream, int status) {
  if (stream.capture) stream.capture->valid = false;
  return status;
}

bool disturbs_capture() {
  if (thread().mode == kRelaxed) return false;
  bool disturbs = false;
  for (const auto& [handle, stream] : simulation().streams.all()) {
    if (!stream->capture) continue;
    const bool is_own = stream->capture->thread == std::this_thread::get_id();
    const bool guarded =
        is_own ? stream->capture->mode != kRelaxed : stream->capture->mode == kGlobal && thread().mode == kGlobal;
    if (guarded) invalidate(*stream, kCaptureUnsupported);
    disturbs = disturbs || guarded;
  }
  return disturbs;
}

int check_no_stream(const std::string& text) {
  if (const int status = check_context(text)) return status;
  return disturbs_capture() ? kCaptureUnsupported : kSuccess;
}

Clock progress_of(const Stream& stream) {
  wait_as_default_streams_do(stream);
  return simulation().scheduler.record(stream.number);
}

int host_waits(const Clock& event) {
  Simulation& all = simulation();
  if (const int status = all.scheduler.host_waits(event)) all.failure = status;
  return all.failure;
}

int wait_for_everything() {
  Scheduler& scheduler = simulation().scheduler;
  return host_waits(scheduler.record_all(scheduler.streams()));
}

int synchronize(const std::string& text, const void* handle) {
  std::shared_ptr<Stream> stream;
  if (const int status = find_stream(text, handle, stream)) return status;
  if (stream->capture) return invalidate(*stream, kCaptureUnsupported);
  return disturbs_capture() ? static_cast<int>(kCaptureUnsupported) : host_waits(progress_of(*stream));
}

int check_unused(const std::string& text, const Allocation& allocation) {
  for (const Work* work : allocation.history.conflicts(0, allocation.size, true)) {
    if (!simulation().scheduler.host_has_waited_for(*work))
      return simulation().fail(text + ": the memory is in use by " + work->text + ", which may be running");
  }
  return kSuccess;
}

}  // namespace fake_cuda
