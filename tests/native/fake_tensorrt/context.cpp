#include "context.h"

#include <algorithm>

#include "runtime.h"

namespace fake_tensorrt {

namespace {

constexpr uintptr_t kAlignment{256};  // bytes; required by IExecutionContext::setTensorAddress in NvInferRuntime.h

size_t element_bytes(int type) {
  switch (type) {
    case kFloat:
    case kInt32:
      return 4;
    case kInt64:
      return 8;
    case kFloat16:
      return 2;
    default:
      return 1;
  }
}

bool is_known(const Shape& shape) { return std::find(shape.begin(), shape.end(), -1) == shape.end(); }

std::string text_of(const Shape& shape) {
  std::string out;
  for (const int64_t size : shape) out += (out.empty() ? "" : ", ") + std::to_string(size);
  return "[" + out + "]";
}

}  // namespace

Context::Context(Engine& engine, const Options& options)
    : engine_(engine),
      contexts_(engine.contexts()),
      options_(options),
      memory_("the context of " + engine.plan().name) {
  mImpl = this;
  ++*contexts_;
}

Context::~Context() noexcept { --*contexts_; }

bool Context::setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept {
  const std::string call{"setOptimizationProfileAsync"};
  if (profile < 0 || profile >= engine_.getNbOptimizationProfiles())
    return fail(call, "profile " + std::to_string(profile) + " does not exist");
  if (fake_cuda_is_capturing(stream)) return fail_capture(call, stream);
  const std::vector<FakeCudaAccess> accesses{{"the context's internal memory", memory_.pointer(), kInternalBytes, 1}};
  if (fake_cuda::enqueue_work(engine_.plan().name + ": profile", stream, accesses, [] { return 0; }) != 0)
    return fail(call, "Cuda Runtime");
  profile_ = profile;
  shapes_.clear();
  has_run_ = false;
  return true;
}

bool Context::setInputShape(char const* name, Dims const& dims) noexcept {
  const std::string call{"setInputShape"};
  const Tensor* tensor = engine_.find(name);
  if (tensor == nullptr || !engine_.is_input(*tensor)) return fail(call, std::string("there is no input ") + name);
  const auto limits = engine_.profile_shapes(*tensor, profile_);
  const Shape &lowest = limits[0], &highest = limits[2];
  if (dims.nbDims < 0 || dims.nbDims > Dims::MAX_DIMS) return fail(call, "the number of dimensions is invalid");
  const Shape shape(dims.d, dims.d + dims.nbDims);
  bool is_valid = shape.size() == lowest.size();
  for (size_t i = 0; is_valid && i < shape.size(); ++i) is_valid = lowest[i] <= shape[i] && shape[i] <= highest[i];
  if (!is_valid)
    return fail(call, "Set dimensions are " + text_of(shape) + " for " + name + ". Valid range for profile " +
                          std::to_string(profile_) + ": " + text_of(lowest) + ".." + text_of(highest));
  if (shape_of(*tensor) != shape) has_run_ = false;
  shapes_[name] = shape;
  return true;
}

Dims Context::getTensorShape(char const* name) const noexcept {
  const Tensor* tensor = engine_.find(name);
  return tensor == nullptr ? Dims{-1, {}} : dims_of(shape_of(*tensor));
}

bool Context::setTensorAddress(char const* name, void* data) noexcept {
  if (engine_.find(name) == nullptr) return fail("setTensorAddress", std::string("there is no tensor ") + name);
  if (reinterpret_cast<uintptr_t>(data) % kAlignment != 0)
    return fail("setTensorAddress",
                std::string(name) + ": data must be aligned on " + std::to_string(kAlignment) + " byte boundary");
  return addresses_[name] = data, true;
}

bool Context::setInputTensorAddress(char const* name, void const* data) noexcept {
  if (engine_.getTensorIOMode(name) != TensorIOMode::kINPUT)
    return fail("setInputTensorAddress", std::string("there is no input ") + name);
  return setTensorAddress(name, const_cast<void*>(data));
}

bool Context::setOutputTensorAddress(char const* name, void* data) noexcept {
  if (engine_.getTensorIOMode(name) != TensorIOMode::kOUTPUT)
    return fail("setOutputTensorAddress", std::string("there is no output ") + name);
  return setTensorAddress(name, data);
}

void const* Context::getTensorAddress(char const* name) const noexcept {
  const auto entry = addresses_.find(name);
  return entry == addresses_.end() ? nullptr : entry->second;
}

int32_t Context::inferShapes(int32_t most_names, char const** names) noexcept {
  const auto inputs = missing();
  for (size_t i = 0; i < inputs.size() && static_cast<int32_t>(i) < most_names; ++i) names[i] = inputs[i]->name.c_str();
  return static_cast<int32_t>(inputs.size());
}

bool Context::enqueueV3(cudaStream_t stream) noexcept {
  const std::string call{"enqueueV3"}, &name = engine_.plan().name;
  for (const Tensor* input : missing()) return fail(call, "the shape of input " + input->name + " is not specified");
  const auto sizes = named_sizes();
  for (const auto& [size_name, size] : sizes) {
    if (sizes.find(size_name)->second != size) return fail(call, "inputs disagree about the size " + size_name);
  }
  for (const Tensor& tensor : engine_.tensors()) {
    if (getTensorAddress(tensor.name.c_str()) == nullptr)
      return fail(call, "Address is not set for tensor " + tensor.name + ". Call setTensorAddress before enqueue");
  }
  const bool is_capturing = fake_cuda_is_capturing(stream);
  if (is_capturing && !has_run_) return fail_capture(call, stream);
  if (is_capturing && options_.compiles_lazily && engine_.is_dynamic()) {
    fake_cuda_violate((name + ": a run during a capture, with kernels that are compiled lazily").c_str());
    return fail_capture(call, stream);
  }

  std::vector<BoundTensor> tensors;
  std::vector<FakeCudaAccess> accesses{{"the context's internal memory", memory_.pointer(), kInternalBytes, 1},
                                       {"the engine's weights", engine_.weights(), kInternalBytes, 0}};
  for (const Tensor& tensor : engine_.tensors()) {
    const Shape shape = shape_of(tensor);
    if (!is_known(shape)) {
      fake_cuda_violate((name + ": the shape of " + tensor.name + " depends on values: not simulated").c_str());
      return false;
    }
    size_t bytes = element_bytes(tensor.type);
    for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
    void* memory = addresses_.at(tensor.name);
    const bool is_output = !engine_.is_input(tensor);
    tensors.push_back({tensor.name, memory, bytes, tensor.type, shape, is_output});
    accesses.push_back({tensor.name.c_str(), reinterpret_cast<uint64_t>(memory), bytes, is_output});
  }
  if (fake_cuda::enqueue_work(name, stream, accesses, bound_run(name, engine_.session(), std::move(tensors))) != 0)
    return fail(call, "Cuda Runtime: " + std::string(fake_cuda_violation()));
  has_run_ = true;
  return true;
}

Shape Context::shape_of(const Tensor& tensor) const {
  const auto set = shapes_.find(tensor.name);
  if (set != shapes_.end()) return set->second;
  Shape shape = tensor.shape;
  if (engine_.is_input(tensor)) return shape;
  const auto known = named_sizes();
  for (size_t i = 0; i < shape.size(); ++i) {
    const auto entry = known.find(tensor.size_names[i]);
    if (shape[i] == -1 && entry != known.end()) shape[i] = entry->second;
  }
  return shape;
}

std::vector<const Tensor*> Context::missing() const {
  std::vector<const Tensor*> inputs;
  for (const Tensor& tensor : engine_.tensors()) {
    if (engine_.is_input(tensor) && !is_known(shape_of(tensor))) inputs.push_back(&tensor);
  }
  return inputs;
}

std::multimap<std::string, int64_t> Context::named_sizes() const {
  std::multimap<std::string, int64_t> sizes;
  for (const Tensor& tensor : engine_.tensors()) {
    const auto set = shapes_.find(tensor.name);
    if (!engine_.is_input(tensor) || set == shapes_.end()) continue;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      if (tensor.shape[i] == -1 && !tensor.size_names[i].empty()) sizes.emplace(tensor.size_names[i], set->second[i]);
    }
  }
  return sizes;
}

bool Context::fail(const std::string& call, const std::string& text) const {
  log_error(engine_.logger(),
            "IExecutionContext::" + call + ": Error Code 3: API Usage Error (Parameter check failed: " + text + ")");
  return false;
}

bool Context::fail_capture(const std::string& call, cudaStream_t stream) const {
  fake_cuda_invalidate_capture(stream);
  log_error(engine_.logger(), "IExecutionContext::" + call +
                                  ": Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)");
  return false;
}

}  // namespace fake_tensorrt
