// Enqueuing work on a stream or in its capture, and waiting for it.
#ifndef LATENTLOOP_TESTS_CUDA_ENQUEUING_H_
#define LATENTLOOP_TESTS_CUDA_ENQUEUING_H_

#include "simulation.h"

namespace fake_cuda {

// What work may do with memory of other contexts of the device.
enum class Reach { kOwnContext, kAllContexts };

// Sets `found` to the stream of a handle, of the current context: 0 and 1 are the legacy default stream, 2 the
// per-thread one.
int find_stream(const std::string& text, const void* handle, std::shared_ptr<Stream>& found);

// Enqueues or captures work. Returns `invalid` for an access to memory that it may not use, and 719 for a race.
int enqueue(const std::string& text, const void* stream, std::vector<Access> accesses, Run run, int invalid,
            Reach reach = Reach::kOwnContext);

bool is_capturing(const void* stream);

// Invalidates the stream's capture, if there is one, because of a call that is not permitted in it. Returns the status.
int invalidate(Stream& stream, int status);

// Returns whether a call without a stream is rejected because of a capture, and invalidates that capture.
bool disturbs_capture();

// Checks for a call without a stream: it needs a context, and must not disturb a capture.
int check_no_stream(const std::string& text);

// Returns an event after the stream's work so far, and after the work with which the default stream orders it.
Clock progress_of(const Stream& stream);

// Runs the work before an event. Returns the status of the failure, if any.
int host_waits(const Clock& event);
int wait_for_everything();  // of all contexts

// Waits for the stream's work.
int synchronize(const std::string& text, const void* stream);

// Reports work that uses the allocation and for which the host has not waited. Returns a status.
int check_unused(const std::string& text, const Allocation& allocation);

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_ENQUEUING_H_
