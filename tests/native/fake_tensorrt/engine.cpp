#include "engine.h"

#include <algorithm>
#include <stdexcept>

#include "context.h"
#include "runtime.h"

namespace fake_tensorrt {

namespace {

DataType data_type(const Tensor& tensor) {
  switch (tensor.type) {
    case kFloat:
      return DataType::kFLOAT;
    case kFloat16:
      return DataType::kHALF;
    case kInt8:
      return DataType::kINT8;
    case kInt32:
      return DataType::kINT32;
    case kBool:
      return DataType::kBOOL;
    case kUint8:
      return DataType::kUINT8;
    case kInt64:
      return DataType::kINT64;
  }
  const std::string type = tensor.type == kBfloat16 ? "bfloat16" : "the type " + std::to_string(tensor.type);
  throw std::runtime_error(tensor.name + " has " + type);
}

}  // namespace

Dims dims_of(const Shape& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

InternalMemory::InternalMemory(std::string text) : text_(std::move(text)), pointer_(fake_cuda_reserve(kInternalBytes)) {
  if (pointer_ == 0) throw std::runtime_error(text_ + ": Cuda Runtime (out of memory, or no context is current)");
}

Engine::Engine(Plan plan, ILogger& logger, Children engines)
    : plan_(std::move(plan)),
      logger_(logger),
      engines_(std::move(engines)),
      session_(OnnxSession::of(plan_)),
      tensors_(session_->inputs()),
      weights_("the engine " + plan_.name) {
  mImpl = this;
  tensors_.insert(tensors_.end(), session_->outputs().begin(), session_->outputs().end());
  for (const Tensor& tensor : tensors_) data_type(tensor);
  ++*engines_;
}

Engine::~Engine() noexcept {
  if (*contexts_ != 0) fake_cuda_violate(("the engine " + plan_.name + " was destroyed before its contexts").c_str());
  --*engines_;
}

const Tensor* Engine::find(const char* name) const {
  for (const Tensor& tensor : tensors_) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

bool Engine::is_dynamic() const {
  return std::any_of(tensors_.begin(), tensors_.end(), [](const Tensor& tensor) {
    return std::find(tensor.shape.begin(), tensor.shape.end(), -1) != tensor.shape.end();
  });
}

std::vector<Shape> Engine::profile_shapes(const Tensor& input, int profile) const {
  if (!plan_.profiles.empty()) {
    const auto& shapes = plan_.profiles.at(static_cast<size_t>(profile));
    const auto entry = shapes.find(input.name);
    if (entry != shapes.end()) return entry->second;
  }
  return {3, input.shape};
}

char const* Engine::getIOTensorName(int32_t index) const noexcept {
  return index >= 0 && index < getNbIOTensors() ? tensors_[static_cast<size_t>(index)].name.c_str() : nullptr;
}

TensorIOMode Engine::getTensorIOMode(char const* name) const noexcept {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) return TensorIOMode::kNONE;
  return is_input(*tensor) ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}

DataType Engine::getTensorDataType(char const* name) const noexcept {
  const Tensor* tensor = find(name);
  return tensor == nullptr ? DataType::kFLOAT : data_type(*tensor);
}

Dims Engine::getTensorShape(char const* name) const noexcept {
  const Tensor* tensor = find(name);
  return tensor == nullptr ? Dims{-1, {}} : dims_of(tensor->shape);
}

int32_t Engine::getNbOptimizationProfiles() const noexcept {
  return std::max(static_cast<int32_t>(plan_.profiles.size()), 1);
}

Dims Engine::getProfileShape(char const* name, int32_t profile, OptProfileSelector select) const noexcept {
  const Tensor* tensor = find(name);
  if (tensor == nullptr || !is_input(*tensor) || profile < 0 || profile >= getNbOptimizationProfiles())
    return Dims{-1, {}};
  return dims_of(profile_shapes(*tensor, profile)[static_cast<size_t>(select)]);
}

IExecutionContext* Engine::createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept {
  Options options;
  options.allocation = strategy;
  return create(options);
}

IExecutionContext* Engine::createExecutionContextWithRuntimeConfig(IRuntimeConfig* config) noexcept {
  if (config != nullptr) return create(static_cast<RuntimeConfig*>(config)->options());
  log_error(logger_, "ICudaEngine::createExecutionContext: Error Code 3: API Usage Error (the config is null)");
  return nullptr;
}

IExecutionContext* Engine::create(const Options& options) {
  if (options.allocation != ExecutionContextAllocationStrategy::kSTATIC)
    return not_simulated<IExecutionContext*>("an execution context with another allocation strategy than kSTATIC");
  try {
    return new Context(*this, options);
  } catch (const std::exception& error) {
    log_error(logger_, std::string("ICudaEngine::createExecutionContext: Error Code 1: ") + error.what());
    return nullptr;
  }
}

}  // namespace fake_tensorrt
