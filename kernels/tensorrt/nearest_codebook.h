// NearestCodebook as a TensorRT plugin layer. It calls nearest_codebook/cuda/launch.h.
//
// NearestCodebook, version 1, field channels_first (0 or 1)
//   z [..., D], or if channels_first [B, D, ...], codebook [K, D] of z's type -> index int64 [...] or [B, ...]
//
// Types float32, float16 and bfloat16, linear format; all dimensions may be dynamic. Every call computes the codebook's
// norms, which takes a few microseconds, so the codebook may be refitted.
#pragma once

#include <NvInferRuntime.h>

#include "../nearest_codebook/cuda/launch.h"

namespace latentloop::tensorrt {

constexpr const char* kName{"NearestCodebook"};
constexpr const char* kVersion{"1"};
constexpr const char* kNamespace{""};  // the namespace in which the ONNX parser looks up a node's type
constexpr const char* kChannelsFirst{"channels_first"};

class NearestCodebook final : public nvinfer1::IPluginV3,
                              public nvinfer1::IPluginV3OneCore,
                              public nvinfer1::IPluginV3OneBuild,
                              public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit NearestCodebook(bool channels_first);

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count, const nvinfer1::DataType* inputs,
                             int32_t input_count) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count, const nvinfer1::DimsExprs* values,
                          int32_t value_count, nvinfer1::DimsExprs* outputs, int32_t output_count,
                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t input_count, int32_t output_count) noexcept override;
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc* outputs, int32_t output_count) noexcept override;
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::DynamicPluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override;

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t input_count,
                        const nvinfer1::PluginTensorDesc* outputs, int32_t output_count) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc* outputs,
                  const void* const* input_memory, void* const* output_memory, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  int32_t channels_first_;
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

}  // namespace latentloop::tensorrt
