#include "nearest_codebook.h"

#include <algorithm>
#include <new>

#include "../nearest_codebook/cuda/tensor_shapes.h"
#include "log.h"

namespace latentloop::tensorrt {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

namespace {

// Used for every GPU, because the workspace size must be the same where the engine is built (perhaps without a GPU) and
// where it runs. Results are correct for any number; this one is fast on GPUs with 100 to 200 multiprocessors.
constexpr int32_t kMultiprocessors{144};

// Sets the problem's fields. Logs an error and returns false if the kernels do not support the tensors.
bool describe(const Dims& z, const Dims& codebook, DataType type, bool channels_first,
              latentloop_cuda_nearest_problem& problem) {
  problem.multiprocessors = kMultiprocessors;
  switch (type) {
    case DataType::kFLOAT:
      problem.type = LATENTLOOP_CUDA_FLOAT32;
      break;
    case DataType::kHALF:
      problem.type = LATENTLOOP_CUDA_FLOAT16;
      break;
    case DataType::kBF16:
      problem.type = LATENTLOOP_CUDA_BFLOAT16;
      break;
    default:
      fail("NearestCodebook: z is of a type other than float32, float16 or bfloat16");
      return false;
  }
  if (nearest::describe({z.d, z.nbDims}, {codebook.d, codebook.nbDims}, channels_first, problem)) return true;
  fail(
      "NearestCodebook: the shapes of z and codebook do not fit, expected z [..., D], or with channels_first "
      "[B, D, ...], and codebook [K, D]");
  return false;
}

}  // namespace

NearestCodebook::NearestCodebook(bool channels_first)
    : channels_first_(channels_first),
      field_(kChannelsFirst, &channels_first_, nvinfer1::PluginFieldType::kINT32, 1),
      fields_{1, &field_} {}

nvinfer1::IPluginCapability* NearestCodebook::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* NearestCodebook::clone() noexcept { return new (std::nothrow) NearestCodebook(channels_first_); }

int32_t NearestCodebook::getOutputDataTypes(DataType* outputs, int32_t output_count, const DataType* inputs,
                                            int32_t input_count) const noexcept {
  if (input_count != 2 || output_count != 1) return fail("NearestCodebook: expected z and codebook");
  if (inputs[0] != inputs[1]) return fail("NearestCodebook: z and codebook are of different types");
  outputs[0] = DataType::kINT64;
  return 0;
}

int32_t NearestCodebook::getOutputShapes(const DimsExprs* inputs, int32_t input_count, const DimsExprs*, int32_t,
                                         DimsExprs* outputs, int32_t output_count, nvinfer1::IExprBuilder&) noexcept {
  if (input_count != 2 || output_count != 1) return fail("NearestCodebook: expected z and codebook");
  const DimsExprs& z = inputs[0];
  const int axis = nearest::dimensions_axis(z.nbDims, channels_first_);
  if (axis < 0 || inputs[1].nbDims != 2)
    return fail("NearestCodebook: expected z [..., D], or with channels_first [B, D, ...], and codebook [K, D]");
  outputs[0].nbDims = z.nbDims - 1;
  std::copy(z.d, z.d + axis, outputs[0].d);
  std::copy(z.d + axis + 1, z.d + z.nbDims, outputs[0].d + axis);
  return 0;
}

bool NearestCodebook::supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors,
                                                int32_t input_count, int32_t output_count) noexcept {
  if (input_count != 2 || output_count != 1) return false;
  const PluginTensorDesc& tensor = tensors[position].desc;
  if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
  if (position == 2) return tensor.type == DataType::kINT64;
  if (position == 1) return tensor.type == tensors[0].desc.type;
  return tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF || tensor.type == DataType::kBF16;
}

int32_t NearestCodebook::configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                                         int32_t) noexcept {
  return 0;
}

size_t NearestCodebook::getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t, const DynamicPluginTensorDesc*,
                                         int32_t) const noexcept {
  latentloop_cuda_nearest_problem problem{};
  int64_t prepared = 0, workspace = 0;
  if (!describe(inputs[0].max, inputs[1].max, inputs[0].desc.type, channels_first_, problem)) return 0;
  if (latentloop_cuda_nearest_sizes(&problem, &prepared, &workspace) != LATENTLOOP_CUDA_OK) {
    fail(latentloop_cuda_error());
    return 0;  // enqueue fails with the same message
  }
  return static_cast<size_t>(prepared + workspace);
}

int32_t NearestCodebook::onShapeChange(const PluginTensorDesc* inputs, int32_t, const PluginTensorDesc*,
                                       int32_t) noexcept {
  latentloop_cuda_nearest_problem problem{};
  return describe(inputs[0].dims, inputs[1].dims, inputs[0].type, channels_first_, problem) ? 0 : -1;
}

int32_t NearestCodebook::enqueue(const PluginTensorDesc* inputs, const PluginTensorDesc*,
                                 const void* const* input_memory, void* const* output_memory, void* workspace,
                                 cudaStream_t stream) noexcept {
  latentloop_cuda_nearest_problem problem{};
  if (!describe(inputs[0].dims, inputs[1].dims, inputs[0].type, channels_first_, problem)) return -1;
  latentloop_cuda_nearest_memory memory{};
  int64_t prepared_bytes = 0;
  if (latentloop_cuda_nearest_sizes(&problem, &prepared_bytes, &memory.workspace_bytes) != LATENTLOOP_CUDA_OK)
    return fail(latentloop_cuda_error());
  void* prepared = static_cast<char*>(workspace) + memory.workspace_bytes;
  memory.z = input_memory[0];
  memory.codebook = input_memory[1];
  memory.prepared = prepared;
  memory.workspace = workspace;
  memory.index = static_cast<int64_t*>(output_memory[0]);
  if (latentloop_cuda_nearest_prepare(&problem, memory.codebook, prepared, stream) != LATENTLOOP_CUDA_OK ||
      latentloop_cuda_nearest_codebook(&problem, &memory, stream) != LATENTLOOP_CUDA_OK)
    return fail(latentloop_cuda_error());
  return 0;
}

nvinfer1::IPluginV3* NearestCodebook::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

const nvinfer1::PluginFieldCollection* NearestCodebook::getFieldsToSerialize() noexcept { return &fields_; }

}  // namespace latentloop::tensorrt
