// Runs of engines, and what they do to memory and to each other.
#include <cstring>

#include "machine.h"

SCENARIO(sums) {
  {
    Machine machine;
    fill(machine, 0, 1);
    fill(machine, 1, 100);
    machine.bind();
    EXPECT(machine.run(), true);
    EXPECT(read(machine, 3), 107.0f);
    EXPECT(fake_tensorrt_live("runtimes") + fake_tensorrt_live("engines") + fake_tensorrt_live("contexts"), 3);
    EXPECT(fake_cuda_live("internal"), 2);
  }
  EXPECT(fake_tensorrt_live("runtimes") + fake_tensorrt_live("engines") + fake_tensorrt_live("contexts"), 0);
  EXPECT(fake_cuda_live("internal"), 0);
}

SCENARIO(describes_the_engine) {
  Machine machine;
  const auto& engine = *machine.engine;
  EXPECT(engine.getNbIOTensors(), 3);
  EXPECT(std::strcmp(engine.getIOTensorName(2), "z"), 0);
  EXPECT(engine.getTensorIOMode("y") == nvinfer1::TensorIOMode::kINPUT, true);
  EXPECT(engine.getTensorIOMode("z") == nvinfer1::TensorIOMode::kOUTPUT, true);
  EXPECT(engine.getTensorIOMode("w") == nvinfer1::TensorIOMode::kNONE, true);
  EXPECT(engine.getTensorDataType("x") == nvinfer1::DataType::kFLOAT, true);
  EXPECT(engine.getTensorShape("x").d[0], -1);
  EXPECT(engine.getNbOptimizationProfiles(), 2);
  EXPECT(engine.getProfileShape("x", 1, nvinfer1::OptProfileSelector::kMAX).d[0], 3);
  EXPECT(machine.context->getTensorShape("z").d[0], -1);
  EXPECT(machine.context->inferShapes(0, nullptr), 2);
  machine.bind();
  EXPECT(machine.context->inferShapes(0, nullptr), 0);
  EXPECT(machine.context->getTensorShape("z").d[0], 2);
  OK(cuStreamSynchronize(machine.stream));
}

SCENARIO(captures_a_run) {
  Machine machine;
  machine.bind();
  fill(machine, 0, 1);
  EXPECT(machine.run(), true);
  void* executable = capture(machine.stream, [&] { EXPECT(machine.run(), true); });
  for (int turn = 0; turn < 3; ++turn) {
    fill(machine, 1, static_cast<float>(turn));
    OK(cuGraphLaunch(executable, machine.stream));
    EXPECT(read(machine, 0), 1.0f + static_cast<float>(turn));
  }
}

SCENARIO(destroyed_before_its_runs_end) {
  Machine machine;
  machine.bind();
  EXPECT(machine.run(), true);
  machine.context.reset();
}

SCENARIO(engine_destroyed_before_its_context) {
  Machine machine;
  machine.engine.reset();
}

SCENARIO(runtime_destroyed_before_its_engine) {
  Machine machine;
  machine.runtime.reset();
}

SCENARIO(replay_after_its_context_was_destroyed) {
  Machine machine;
  machine.bind();
  EXPECT(machine.run(), true);
  void* executable = capture(machine.stream, [&] { EXPECT(machine.run(), true); });
  OK(cuStreamSynchronize(machine.stream));
  machine.context.reset();
  EXPECT(cuGraphLaunch(executable, machine.stream), 700);
}

SCENARIO(runs_of_a_context_on_two_streams) {
  Machine machine;
  machine.bind();
  void* other = new_stream();
  EXPECT(machine.run(), true);
  EXPECT(machine.context->enqueueV3(static_cast<cudaStream_t>(other)), false);
}

SCENARIO(run_races_with_a_copy) {
  Machine machine;
  machine.bind();
  EXPECT(machine.run(), true);
  EXPECT(cuMemcpyDtoHAsync_v2(page_locked(), machine.memory[2], 8, new_stream()), 719);
}

SCENARIO(two_contexts_on_two_streams) {
  Machine machine;
  auto other = machine.new_context();
  machine.bind();
  machine.bind(*other);
  void* stream = new_stream();
  const uint64_t output = allocate(stream);
  EXPECT(other->setTensorAddress("z", reinterpret_cast<void*>(output)), true);
  OK(cuStreamWaitEvent(stream, record(machine.stream), 0));
  EXPECT(machine.run(), true);
  EXPECT(other->enqueueV3(static_cast<cudaStream_t>(stream)), true);  // they only share inputs
  OK(cuCtxSynchronize());
}

SCENARIO(output_overlaps_an_input) {
  Machine machine;
  machine.bind();
  EXPECT(machine.context->setTensorAddress("z", reinterpret_cast<void*>(machine.memory[0] + kRow)), true);
  EXPECT(machine.run(), false);
  OK(cuStreamSynchronize(machine.stream) == 719 ? 0 : 1);
}

SCENARIO(tensor_outside_an_allocation) {
  Machine machine;
  machine.bind();
  const auto address = machine.memory[1] + kSize - kRow;  // the second image is outside
  EXPECT(machine.context->setTensorAddress("y", reinterpret_cast<void*>(address)), true);
  EXPECT(machine.run(), false);
}

SCENARIO(freed_tensor) {
  Machine machine;
  machine.bind();
  OK(cuMemFreeAsync(machine.memory[1], machine.stream));
  EXPECT(machine.run(), false);
}

SCENARIO(uninitialised_input) {
  Machine machine;
  machine.bind();
  const uint64_t input = allocate(machine.stream);
  EXPECT(machine.context->setTensorAddress("y", reinterpret_cast<void*>(input)), true);
  EXPECT(machine.run(), true);
  const float value = read(machine, 0);
  EXPECT(value == value, false);
}

SCENARIO(not_simulated) {
  Machine machine;
  machine.engine->getNbLayers();
}
