// The order of work by streams, events and the waiting host.
#include "scenario.h"

SCENARIO(read_on_another_stream) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuMemsetD8Async(memory, 1, kSize, first));
  EXPECT(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, second), 719);
  EXPECT(cuStreamSynchronize(first), 719);  // as a device reports it
}

SCENARIO(read_after_an_event) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuMemsetD8Async(memory, 7, kSize, first));
  OK(cuStreamWaitEvent(second, record(first), 0));
  unsigned char* copy = page_locked();
  OK(cuMemcpyDtoHAsync_v2(copy, memory, kSize, second));
  OK(cuStreamSynchronize(second));
  EXPECT(static_cast<int>(copy[kSize - 1]), 7);
}

SCENARIO(event_before_the_work) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  void* event = record(first);
  OK(cuMemsetD8Async(memory, 1, kSize, first));
  OK(cuStreamWaitEvent(second, event, 0));
  EXPECT(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, second), 719);
}

SCENARIO(event_recorded_again) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  void* event = record(first);
  OK(cuMemsetD8Async(memory, 1, kSize, first));
  OK(cuEventRecord(event, first));
  OK(cuStreamWaitEvent(second, event, 0));
  OK(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, second));
}

SCENARIO(order_through_a_third_stream) {
  void *first = new_stream(), *second = new_stream(), *third = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuStreamWaitEvent(third, record(second), 0));
  OK(cuMemsetD8Async(memory, 1, kSize, third));
}

SCENARIO(order_through_the_host) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuEventSynchronize(record(first)));
  OK(cuMemsetD8Async(memory, 1, kSize, second));
}

SCENARIO(runs_as_late_as_possible) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  const auto* first = reinterpret_cast<const unsigned char*>(memory);
  OK(cuMemsetD8Async(memory, 1, kSize, stream));
  void* event = record(stream);
  OK(cuMemsetD8Async(memory, 2, kSize, stream));
  EXPECT(*first == 1, false);
  OK(cuEventSynchronize(event));
  EXPECT(static_cast<int>(*first), 1);
  OK(cuStreamSynchronize(stream));
  EXPECT(static_cast<int>(*first), 2);
}

SCENARIO(host_waits_for_another_stream) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamSynchronize(second));
  EXPECT(cuMemsetD8Async(memory, 1, kSize, second), 719);
}

SCENARIO(two_streams_read) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, first));
  OK(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, second));
}

SCENARIO(write_during_a_read) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, first));
  EXPECT(cuMemsetD8Async(memory, 1, kSize, second), 719);
}

SCENARIO(parts_of_an_allocation) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuMemsetD8Async(memory, 1, 100, first));
  OK(cuMemsetD8Async(memory + 100, 1, 100, second));
}

SCENARIO(parts_that_overlap) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuMemsetD8Async(memory, 1, 100, first));
  EXPECT(cuMemsetD8Async(memory + 99, 1, 100, second), 719);
}

SCENARIO(legacy_stream_and_blocking_stream) {
  void* stream = new_stream(0);
  const uint64_t memory = allocate(nullptr);
  OK(cuMemsetD8Async(memory, 1, kSize, stream));
  OK(cuMemsetD8Async(memory, 2, kSize, nullptr));
  OK(cuMemsetD8Async(memory, 3, kSize, reinterpret_cast<void*>(2)));  // the per-thread default stream
  OK(cuMemsetD8Async(memory, 4, kSize, nullptr));
  OK(cuMemsetD8Async(memory, 5, kSize, stream));
}

SCENARIO(legacy_stream_and_non_blocking_stream) {
  void* stream = new_stream();
  const uint64_t memory = allocate(nullptr);
  EXPECT(cuMemsetD8Async(memory, 1, kSize, stream), 719);
}

SCENARIO(allocation_on_another_stream) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  EXPECT(cuMemsetD8Async(memory, 1, kSize, second), 719);
}

SCENARIO(free_during_a_use) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first);
  OK(cuStreamWaitEvent(second, record(first), 0));
  OK(cuMemcpyDtoHAsync_v2(page_locked(), memory, kSize, second));
  EXPECT(cuMemFreeAsync(memory, first), 719);
}

SCENARIO(destroyed_stream) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  void* event = record(stream);
  OK(cuStreamDestroy_v2(stream));
  OK(cuEventSynchronize(event));  // its work goes on
  EXPECT(cuMemsetD8Async(memory, 1, kSize, stream), 400);
}

SCENARIO(destroyed_event) {
  void *stream = new_stream(), *event = record(stream);
  OK(cuStreamWaitEvent(stream, event, 0));
  OK(cuEventDestroy_v2(event));
  EXPECT(cuStreamWaitEvent(stream, event, 0), 400);
}

SCENARIO(unknown_stream) { EXPECT(cuStreamSynchronize(reinterpret_cast<void*>(0xbad0)), 400); }
