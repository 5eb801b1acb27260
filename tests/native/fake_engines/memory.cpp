// Device memory and page-locked host memory.
#include <cstring>

#include "scenario.h"

SCENARIO(memory_is_poisoned) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  float value = 0;
  OK(cuMemcpyDtoHAsync_v2(&value, memory + 4, sizeof value, stream));
  EXPECT(value == value, false);  // NaN
}

SCENARIO(outside_an_allocation) {
  void* stream = new_stream();
  EXPECT(cuMemsetD8Async(allocate(stream) + 1, 0, kSize, stream), 1);
}

SCENARIO(use_after_free) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  OK(cuMemFreeAsync(memory, stream));
  EXPECT(cuMemsetD8Async(memory, 0, kSize, stream), 1);
}

SCENARIO(free_twice) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  OK(cuMemFreeAsync(memory, stream));
  EXPECT(cuMemFreeAsync(memory, stream), 1);
}

SCENARIO(free_of_a_part) {
  void* stream = new_stream();
  EXPECT(cuMemFreeAsync(allocate(stream) + 8, stream), 1);
}

SCENARIO(overlapping_copy) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  EXPECT(cuMemcpyDtoDAsync_v2(memory + 8, memory, 9, stream), 1);
}

SCENARIO(copy_beside_its_source) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  OK(cuMemsetD8Async(memory, 5, 8, stream));
  OK(cuMemcpyDtoDAsync_v2(memory + 8, memory, 8, stream));
  unsigned char copy = 0;
  OK(cuMemcpyDtoHAsync_v2(&copy, memory + 15, 1, stream));
  EXPECT(static_cast<int>(copy), 5);
  EXPECT(fake_cuda_calls("pageable copy"), 1);
}

SCENARIO(write_over_a_guard) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  const auto run = [memory] { return *reinterpret_cast<char*>(memory + kSize) = 0; };
  OK(fake_cuda::enqueue_work("a kernel", stream, {{"the output", memory, kSize, 1}}, run));
}

SCENARIO(write_over_a_guard_before_a_free) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  const auto run = [memory] { return *reinterpret_cast<char*>(memory - 1) = 0; };
  OK(fake_cuda::enqueue_work("a kernel", stream, {{"the output", memory, kSize, 1}}, run));
  OK(cuMemFreeAsync(memory, stream));
  EXPECT(cuStreamSynchronize(stream), 719);
}

SCENARIO(outputs_overlap) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  const std::vector<FakeCudaAccess> accesses{{"the input", memory, 9, 0}, {"the output", memory + 8, 8, 1}};
  EXPECT(fake_cuda::enqueue_work("a kernel", stream, accesses, [] { return 0; }), 719);
}

SCENARIO(host_memory_in_a_kernel) {
  const auto memory = reinterpret_cast<uint64_t>(page_locked());
  EXPECT(fake_cuda::enqueue_work("a kernel", new_stream(), {{"the input", memory, 8, 0}}, [] { return 0; }), 700);
}

SCENARIO(failing_kernel) {
  void* stream = new_stream();
  OK(fake_cuda::enqueue_work("a kernel", stream, {}, [] { return 700; }));
  EXPECT(cuStreamSynchronize(stream), 700);
}

SCENARIO(source_changes_during_a_copy) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* source = page_locked();
  OK(cuMemcpyHtoDAsync_v2(memory, source, kSize, stream));
  source[3] = 1;
  EXPECT(cuStreamSynchronize(stream), 719);
}

SCENARIO(source_changes_after_a_copy) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* source = page_locked();
  for (unsigned char turn = 0; turn < 3; ++turn) {
    std::memset(source, turn, kSize);
    OK(cuMemcpyHtoDAsync_v2(memory, source, kSize, stream));
    OK(cuStreamSynchronize(stream));
  }
}

SCENARIO(target_is_read_too_early) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  OK(cuMemsetD8Async(memory, 9, kSize, stream));
  unsigned char* target = page_locked();
  target[0] = 9;
  OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
  EXPECT(target[0] == 9, false);
  OK(cuStreamSynchronize(stream));
  EXPECT(target[0] == 9, true);
}

SCENARIO(target_is_written_too_early) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* target = page_locked();
  OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
  target[0] = 9;
  EXPECT(cuStreamSynchronize(stream), 719);
}

SCENARIO(host_memory_between_copies_of_a_stream) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* staged = page_locked();
  for (unsigned char turn = 0; turn < 3; ++turn) {
    OK(cuMemsetD8Async(memory, turn, kSize, stream));
    OK(cuMemcpyDtoHAsync_v2(staged, memory, kSize, stream));
    OK(cuMemcpyHtoDAsync_v2(memory, staged, kSize, stream));
  }
  OK(cuStreamSynchronize(stream));
  EXPECT(static_cast<int>(staged[0]), 2);
}

SCENARIO(host_memory_between_copies_of_two_streams) {
  void *first = new_stream(), *second = new_stream();
  const uint64_t memory = allocate(first), other = allocate(second);
  unsigned char* staged = page_locked();
  OK(cuMemcpyDtoHAsync_v2(staged, memory, kSize, first));
  EXPECT(cuMemcpyHtoDAsync_v2(other, staged, kSize, second), 719);
}

SCENARIO(host_memory_freed_during_a_copy) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* target = page_locked();
  OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
  EXPECT(cuMemFreeHost(target), 719);
}

SCENARIO(host_memory_used_after_free) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* source = page_locked();
  OK(cuMemFreeHost(source));
  EXPECT(cuMemcpyHtoDAsync_v2(memory, source, kSize, stream), 1);
}

SCENARIO(beyond_host_memory) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  EXPECT(cuMemcpyHtoDAsync_v2(memory, page_locked() + 8, kSize, stream), 1);
}

SCENARIO(kinds_of_memory) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned kind = 0;
  int device = -1, pageable = 0;
  OK(cuPointerGetAttribute(&kind, 2, memory + kSize - 1));
  EXPECT(kind, 2u);
  OK(cuPointerGetAttribute(&device, 9, memory));
  EXPECT(device, 0);
  OK(cuPointerGetAttribute(&kind, 2, reinterpret_cast<uint64_t>(page_locked())));
  EXPECT(kind, 1u);
  EXPECT(cuPointerGetAttribute(&kind, 2, reinterpret_cast<uint64_t>(&pageable)), 1);
  OK(cuMemFreeAsync(memory, stream));
  EXPECT(cuPointerGetAttribute(&kind, 2, memory), 1);
}

SCENARIO(counts_what_is_live) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  void *event = record(stream), *staged = page_locked();
  void* executable = capture(stream, [&] { OK(cuMemsetD8Async(memory, 1, kSize, stream)); });
  for (const char* kind : {"streams", "events", "executables", "device", "host", "contexts", "primary"})
    EXPECT(fake_cuda_live(kind), 1);
  OK(cuGraphExecDestroy(executable));
  OK(cuMemFreeAsync(memory, stream));
  OK(cuMemFreeHost(staged));
  OK(cuEventDestroy_v2(event));
  OK(cuStreamDestroy_v2(stream));
  OK(cuCtxPopCurrent_v2(&stream));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  for (const char* kind :
       {"streams", "events", "graphs", "executables", "device", "host", "contexts", "primary", "created", "abandoned"})
    EXPECT(fake_cuda_live(kind), 0);
}

SCENARIO(counts_what_is_abandoned) {
  void* stream = new_stream();
  allocate(stream);
  page_locked();
  OK(cuCtxPopCurrent_v2(&stream));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  EXPECT(fake_cuda_live("abandoned"), 3);
}

SCENARIO(planned_failures) {
  void* stream = new_stream();
  uint64_t memory = 0;
  fake_cuda_fail("cuMemAllocAsync", 2, 2);
  OK(cuMemAllocAsync(&memory, kSize, stream));
  EXPECT(cuMemAllocAsync(&memory, kSize, stream), 2);
  OK(cuMemAllocAsync(&memory, kSize, stream));
  EXPECT(fake_cuda_calls("cuMemAllocAsync"), 3);
  EXPECT(fake_cuda_live("device"), 2);
  fake_cuda_fail("cuStreamSynchronize", 0, 700);
  for (int turn = 0; turn < 2; ++turn) EXPECT(cuStreamSynchronize(stream), 700);
  fake_cuda_fail("cuMemAllocAsync", 1, 2);  // the next call, though there were calls before
  EXPECT(cuMemAllocAsync(&memory, kSize, stream), 2);
  fake_cuda_reset();
  OK(cuStreamSynchronize(stream));
}

SCENARIO(reset_forgets_a_failure) {
  void *first = new_stream(), *second = new_stream();
  EXPECT(cuMemsetD8Async(allocate(first), 1, kSize, second), 719);
  EXPECT(cuStreamSynchronize(second), 719);
  fake_cuda_reset();
  OK(cuStreamSynchronize(second));
}
