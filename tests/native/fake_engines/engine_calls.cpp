// Calls that TensorRT rejects, and compilation by TensorRT for RTX.
#include "machine.h"

// Errors in the log, without a violation: the program sees them.
SCENARIO(invalid_calls) {
  Machine machine;
  auto& context = *machine.context;
  const auto fails = [&](bool done, const char* part) {
    EXPECT(done, false);
    if (machine.error().find(part) == std::string::npos) std::fprintf(stderr, "%s\n", machine.error().c_str());
    EXPECT(machine.error().find(part) != std::string::npos, true);
  };
  fails(machine.run(), "the shape of input x is not specified");
  fails(context.setOptimizationProfileAsync(2, machine.handle()), "profile 2 does not exist");
  EXPECT(context.setOptimizationProfileAsync(1, machine.handle()), true);
  fails(context.setInputShape("z", {2, {1, kWidth}}), "there is no input z");
  fails(context.setInputShape("x", {2, {4, kWidth}}), "Set dimensions are [4, 64] for x. Valid range");
  fails(context.setInputShape("x", {1, {kWidth}}), "Set dimensions are [64] for x");
  fails(context.setInputShape("x", {1, {2}}), "Set dimensions are [2] for x");
  EXPECT(context.setInputShape("x", {2, {1, kWidth}}), true);
  EXPECT(context.setInputShape("y", {2, {2, kWidth}}), true);
  fails(machine.run(), "inputs disagree about the size batch");
  EXPECT(context.setInputShape("x", {2, {2, kWidth}}), true);
  fails(machine.run(), "Address is not set for tensor x");
  fails(context.setTensorAddress("w", nullptr), "there is no tensor w");
  fails(context.setTensorAddress("x", reinterpret_cast<void*>(machine.memory[0] + 4)), "aligned on 256 byte");
  OK(cuStreamSynchronize(machine.stream));
}

SCENARIO(captures_need_an_earlier_run) {
  Machine machine;
  machine.bind();
  void* graph = nullptr;
  const auto capture_fails = [&] {
    OK(cuStreamBeginCapture_v2(machine.stream, 1));
    EXPECT(machine.run(), false);
    EXPECT(cuStreamEndCapture(machine.stream, &graph), 901);
  };
  capture_fails();
  EXPECT(machine.run(), true);
  EXPECT(machine.context->setInputShape("x", {2, {2, kWidth}}), true);  // the same
  capture(machine.stream, [&] { EXPECT(machine.run(), true); });
  for (const char* name : {"x", "y"}) EXPECT(machine.context->setInputShape(name, {2, {1, kWidth}}), true);
  capture_fails();
  OK(cuStreamSynchronize(machine.stream));
}

SCENARIO(change_of_the_profile) {
  Machine machine;
  machine.bind();
  EXPECT(machine.run(), true);
  void* graph = nullptr;
  OK(cuStreamBeginCapture_v2(machine.stream, 1));
  EXPECT(machine.context->setOptimizationProfileAsync(0, machine.handle()), false);
  EXPECT(cuStreamEndCapture(machine.stream, &graph), 901);
  EXPECT(machine.context->getOptimizationProfile(), 1);
  EXPECT(machine.context->setOptimizationProfileAsync(0, machine.handle()), true);
  EXPECT(machine.run(), false);  // the shapes are not specified any more
  EXPECT(machine.context->inferShapes(0, nullptr), 2);
  OK(cuStreamSynchronize(machine.stream));
}

SCENARIO(plans_that_cannot_be_loaded) {
  Machine machine;
  const std::string whole = plan();
  const auto fails = [&](const std::string& bytes, const char* part) {
    EXPECT(machine.runtime->deserializeCudaEngine(bytes.data(), bytes.size()) == nullptr, true);
    EXPECT(machine.error().find(part) != std::string::npos, true);
  };
  const auto replaced = [&](const std::string& before, const std::string& after) {
    std::string changed = whole;
    return changed.replace(changed.find(before), before.size(), after);
  };
  fails("", "magicTag");
  fails(whole.substr(0, whole.size() - 1), "magicTag");
  fails(replaced("\"tensorrt", "\"tensorflow"), "Version tag does not match");
  fails(replaced("sm86", "sm75"), "the engine is for sm75, the device is sm86");
  void* popped = nullptr;
  OK(cuCtxPopCurrent_v2(&popped));
  fails(whole, "no context is current");
  OK(cuCtxPushCurrent_v2(popped));
}

SCENARIO(bfloat16) {  // a plan of bfloat16
  Log log;
  const std::unique_ptr<nvinfer1::IRuntime> runtime{nvinfer1::createInferRuntime(log)};
  const std::string bytes = plan();
  EXPECT(runtime->deserializeCudaEngine(bytes.data(), bytes.size()) == nullptr, true);
  EXPECT(log.errors.at(0).find("not simulated: ") != std::string::npos, true);
}

SCENARIO(engine_in_another_context) {
  Machine machine;
  void* context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  EXPECT(machine.context->enqueueV3(nullptr), false);  // without addresses
  EXPECT(machine.context->setOptimizationProfileAsync(1, nullptr), false);
}

SCENARIO(engine_loaded_in_another_context) {
  Machine machine;
  void* context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  machine.context = machine.new_context();
  machine.stream = new_stream();
  for (uint64_t& each : machine.memory) each = allocate(machine.stream);
  machine.bind();
  EXPECT(machine.run(), false);
}

SCENARIO(another_major_version) {
  Log log;
  EXPECT(createInferRuntime_INTERNAL(&log, 11 * 10000) == nullptr, true);
  EXPECT(log.errors.size(), 1u);
}

#ifdef TRT_MAJOR_RTX
using Strategy = nvinfer1::DynamicShapesKernelSpecializationStrategy;

namespace {

void capture_with(Strategy strategy, bool succeeds) {
  Machine machine;
  {
    const std::unique_ptr<nvinfer1::IRuntimeConfig> config{machine.engine->createRuntimeConfig()};
    EXPECT(config->getDynamicShapesKernelSpecializationStrategy() == Strategy::kLAZY, true);
    config->setDynamicShapesKernelSpecializationStrategy(strategy);
    EXPECT(fake_tensorrt_live("configs"), 1);
    machine.context.reset(machine.engine->createExecutionContext(config.get()));
  }
  EXPECT(fake_tensorrt_live("configs"), 0);
  machine.bind();
  EXPECT(machine.run(), true);
  void* graph = nullptr;
  OK(cuStreamBeginCapture_v2(machine.stream, 1));
  EXPECT(machine.run(), succeeds);
  EXPECT(cuStreamEndCapture(machine.stream, &graph), succeeds ? 0 : 901);
  OK(succeeds ? cuStreamSynchronize(machine.stream) : 0);
}

}  // namespace

SCENARIO(captures_with_eager_compilation) { capture_with(Strategy::kEAGER, true); }
SCENARIO(captures_with_lazy_compilation) { capture_with(Strategy::kLAZY, false); }
#endif
