// Captures and graphs.
#include "scenario.h"

SCENARIO(replays) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char *source = page_locked(), *target = page_locked();
  void* executable = capture(stream, [&] {
    OK(cuMemcpyHtoDAsync_v2(memory, source, kSize, stream));
    OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
  });
  for (unsigned char turn = 0; turn < 3; ++turn) {
    source[5] = turn;
    OK(cuGraphLaunch(executable, stream));
    OK(cuStreamSynchronize(stream));
    EXPECT(target[5], turn);
  }
}

SCENARIO(source_changes_during_a_replay) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* source = page_locked();
  void* executable = capture(stream, [&] { OK(cuMemcpyHtoDAsync_v2(memory, source, kSize, stream)); });
  OK(cuGraphLaunch(executable, stream));
  source[0] = 1;
  EXPECT(cuStreamSynchronize(stream), 719);
}

SCENARIO(race_with_a_replay) {
  void *stream = new_stream(), *other = new_stream();
  const uint64_t memory = allocate(stream);
  void* executable = capture(stream, [&] { OK(cuMemsetD8Async(memory, 1, kSize, stream)); });
  OK(cuStreamSynchronize(stream));
  OK(cuGraphLaunch(executable, stream));
  EXPECT(cuMemsetD8Async(memory + kSize - 1, 1, 1, other), 719);
}

SCENARIO(replay_races) {
  void *stream = new_stream(), *other = new_stream();
  const uint64_t memory = allocate(stream);
  void* executable = capture(stream, [&] { OK(cuMemsetD8Async(memory, 1, kSize, stream)); });
  EXPECT(cuGraphLaunch(executable, other), 719);
}

SCENARIO(replay_with_freed_memory) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  void* executable = capture(stream, [&] { OK(cuMemsetD8Async(memory, 1, kSize, stream)); });
  OK(cuMemFreeAsync(memory, stream));
  EXPECT(cuGraphLaunch(executable, stream), 700);
}

SCENARIO(destroyed_executable) {
  void *stream = new_stream(), *executable = capture(stream, [] {});
  OK(cuGraphLaunch(executable, stream));
  OK(cuGraphExecDestroy(executable));
  EXPECT(cuGraphLaunch(executable, stream), 400);
}

SCENARIO(pending_replay_of_a_destroyed_executable) {
  void* stream = new_stream();
  const uint64_t memory = allocate(stream);
  unsigned char* target = page_locked();
  void* executable = capture(stream, [&] { OK(cuMemsetD8Async(memory, 3, kSize, stream)); });
  OK(cuGraphLaunch(executable, stream));
  OK(cuGraphExecDestroy(executable));
  OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
  OK(cuStreamSynchronize(stream));
  EXPECT(static_cast<int>(target[0]), 3);
}

SCENARIO(event_of_a_capture) {
  void *stream = new_stream(), *graph = nullptr;
  OK(cuStreamBeginCapture_v2(stream, 1));
  void* event = record(stream);
  OK(cuStreamWaitEvent(stream, event, 0));
  OK(cuStreamEndCapture(stream, &graph));
  EXPECT(cuEventSynchronize(event), 907);
  EXPECT(cuStreamWaitEvent(stream, event, 0), 801);
}

// Statuses, without a violation: the program sees them.
SCENARIO(calls_that_a_capture_does_not_permit) {
  void *stream = new_stream(), *graph = nullptr, *pointer = nullptr;
  const uint64_t memory = allocate(stream);
  void* before = record(stream);
  const std::vector<std::function<void()>> calls{
      [&] { EXPECT(cuStreamSynchronize(stream), 900); },
      [&] { EXPECT(cuCtxSynchronize(), 900); },
      [&] { EXPECT(cuMemHostAlloc(&pointer, 8, 0), 900); },
      [&] { EXPECT(cuEventSynchronize(before), 900); },
      [&] { EXPECT(cuStreamWaitEvent(stream, before, 0), 905); },
      [&] { EXPECT(cuStreamBeginCapture_v2(stream, 1), 1); },
  };
  for (const auto& call : calls) {
    OK(cuStreamBeginCapture_v2(stream, 1));
    OK(cuMemsetD8Async(memory, 1, 8, stream));
    call();
    EXPECT(cuStreamEndCapture(stream, &graph), 901);
    EXPECT(graph == nullptr, true);
  }
  EXPECT(cuStreamBeginCapture_v2(nullptr, 1), 900);
  EXPECT(cuStreamEndCapture(stream, &graph), 903);
}

SCENARIO(planned_failure_at_the_end_of_a_capture) {
  void *stream = new_stream(), *graph = nullptr;
  fake_cuda_fail("cuStreamEndCapture", 1, 2);
  OK(cuStreamBeginCapture_v2(stream, 1));
  EXPECT(cuStreamEndCapture(stream, &graph), 2);
  OK(cuStreamBeginCapture_v2(stream, 1));
  OK(cuStreamEndCapture(stream, &graph));
}
