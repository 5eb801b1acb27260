// Contexts and devices: what belongs to another context than the current one.
#include "scenario.h"

namespace {

// Another context of device 0, which is current afterwards.
void* other_context(int device = 0) {
  void* context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, device));
  return context;
}

}  // namespace

SCENARIO(stream_of_another_context) {
  void *stream = new_stream(), *found = nullptr;
  void* context = other_context();
  OK(cuStreamGetCtx(stream, &found));
  EXPECT(found == context, false);
  EXPECT(cuStreamSynchronize(stream), 201);
}

SCENARIO(event_of_another_context) {
  void* event = record(new_stream());
  other_context();
  void* stream = new_stream();
  OK(cuStreamWaitEvent(stream, event, 0));
  OK(cuEventSynchronize(event));
  EXPECT(cuEventRecord(event, stream), 201);
}

SCENARIO(memory_of_another_context) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  void* event = record(stream);
  other_context();
  void* other = new_stream();
  OK(cuStreamWaitEvent(other, event, 0));
  unsigned char copy = 0;
  OK(cuMemcpyDtoHAsync_v2(&copy, memory, 1, other));  // copies may use it
  EXPECT(fake_cuda::enqueue_work("a kernel", other, {{"the input", memory, 8, 0}}, [] { return 0; }), 700);
}

SCENARIO(executable_of_another_context) {
  void* executable = capture(new_stream(), [] {});
  other_context();
  EXPECT(cuGraphLaunch(executable, new_stream()), 201);
}

SCENARIO(stream_of_a_destroyed_context) {
  void* context = other_context();
  void* stream = new_stream();
  OK(cuCtxDestroy_v2(context));
  EXPECT(cuStreamDestroy_v2(stream), 709);
}

SCENARIO(destroyed_context) {
  void *context = other_context(), *popped = nullptr;
  OK(cuCtxPopCurrent_v2(&popped));
  OK(cuCtxDestroy_v2(context));
  EXPECT(cuCtxPushCurrent_v2(context), 201);
}

SCENARIO(released_too_often) {
  OK(cuDevicePrimaryCtxRelease_v2(0));
  EXPECT(cuDevicePrimaryCtxRelease_v2(0), 201);
}

SCENARIO(without_a_context) {
  void *stream = new_stream(), *popped = nullptr;
  uint64_t memory = 0;
  OK(cuCtxPopCurrent_v2(&popped));
  EXPECT(cuStreamSynchronize(stream), 201);
  EXPECT(cuMemAlloc_v2(&memory, 8), 201);
  EXPECT(cuMemAllocAsync(&memory, 8, stream), 201);
  EXPECT(cuStreamCreate(&stream, 1), 201);
  EXPECT(cuEventCreate(&stream, 0), 201);
}

SCENARIO(popped_too_often) {
  void* popped = nullptr;
  OK(cuCtxPopCurrent_v2(&popped));
  EXPECT(cuCtxPopCurrent_v2(&popped), 201);
}

// With LATENTLOOP_TEST_DEVICES=2 and LATENTLOOP_TEST_CAPABILITY=9.0.
SCENARIO(two_devices) {
  int count = 0, major = 0, minor = -1, device = -1;
  OK(cuDeviceGetCount(&count));
  EXPECT(count, 2);
  OK(cuDeviceGetAttribute(&major, 75, 1));
  OK(cuDeviceGetAttribute(&minor, 76, 1));
  EXPECT(10 * major + minor, 90);
  EXPECT(cuDeviceGetAttribute(&major, 75, 2), 101);
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  OK(cuStreamSynchronize(stream));
  other_context(1);
  OK(cuCtxGetDevice(&device));
  EXPECT(device, 1);
  EXPECT(cuMemsetD8Async(memory, 1, 8, new_stream()), 1);
}
