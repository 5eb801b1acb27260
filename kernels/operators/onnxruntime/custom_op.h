// An OrtCustomOp for an operator class. The class has kName, kInputs and kOutputs (element types; with kVariadic, one
// entry stands for any number of tensors of that type, or if it is kUndefined, of any types), a constructor that packs
// its constant weights, and compute().
#pragma once

#include <exception>
#include <string>

#include "abi.h"
#include "runtime.h"

namespace latentloop {

template <typename Operator>
struct Instance {
  Operator kernel;
  const OrtApi* api;
};

// The operator for the CPU execution provider. It lives as long as the process.
template <typename Operator>
const OrtCustomOp* custom_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp d{};
    d.version = ort::kApiVersion;
    d.GetName = [](const OrtCustomOp*) { return Operator::kName; };
    d.GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
    d.GetInputType = [](const OrtCustomOp*, size_t index) { return int{Operator::kInputs[index]}; };
    d.GetInputTypeCount = [](const OrtCustomOp*) { return Operator::kInputs.size(); };
    d.GetOutputType = [](const OrtCustomOp*, size_t index) { return int{Operator::kOutputs[index]}; };
    d.GetOutputTypeCount = [](const OrtCustomOp*) { return Operator::kOutputs.size(); };
    d.GetInputCharacteristic = [](const OrtCustomOp*, size_t) {
      return int{Operator::kVariadic ? ort::kVariadic : ort::kRequired};
    };
    d.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) {
      return int{Operator::kOutputs[0] == ort::kUndefined ? ort::kVariadic : ort::kRequired};
    };
    d.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    d.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return int{Operator::kOutputs[0] != ort::kUndefined}; };
    d.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    d.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
    d.GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return int{Operator::kInputs[0] != ort::kUndefined}; };
    d.GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    d.GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    d.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
      const Runtime runtime{api};
      try {
        *kernel = new Instance<Operator>{Operator(runtime, info), api};
      } catch (const std::exception& error) {
        return runtime.status((std::string{Operator::kName} + ": " + error.what()).c_str());
      }
      return static_cast<OrtStatus*>(nullptr);
    };
    d.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto* instance = static_cast<const Instance<Operator>*>(kernel);
      try {
        instance->kernel.compute(context);
      } catch (const std::exception& error) {
        return Runtime{instance->api}.status((std::string{Operator::kName} + ": " + error.what()).c_str());
      }
      return static_cast<OrtStatus*>(nullptr);
    };
    d.KernelDestroy = [](void* kernel) { delete static_cast<Instance<Operator>*>(kernel); };
    d.GetStartVersion = [](const OrtCustomOp*) { return 1; };
    d.GetEndVersion = [](const OrtCustomOp*) { return 1; };
    return d;
  }();
  return &op;
}

}  // namespace latentloop
