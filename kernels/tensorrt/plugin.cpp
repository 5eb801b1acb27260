// Entry points of the plugin library, which TensorRT's registry calls when it loads the library. It links against no
// TensorRT library, so the same file works with TensorRT and TensorRT for RTX.
#include <cstring>
#include <new>

#include "log.h"
#include "nearest_codebook.h"

namespace latentloop::tensorrt {

class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &fields_; }

  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase) noexcept override {
    int64_t channels_first = -1;
    for (int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
      const nvinfer1::PluginField& field = fields->fields[i];
      if (std::strcmp(field.name, kChannelsFirst) != 0 || field.data == nullptr || field.length != 1) continue;
      if (field.type == nvinfer1::PluginFieldType::kINT32) channels_first = *static_cast<const int32_t*>(field.data);
      if (field.type == nvinfer1::PluginFieldType::kINT64) channels_first = *static_cast<const int64_t*>(field.data);
    }
    if (channels_first == 0 || channels_first == 1) return new (std::nothrow) NearestCodebook(channels_first == 1);
    fail("NearestCodebook: expected the field channels_first, one integer, 0 or 1");
    return nullptr;
  }

 private:
  nvinfer1::PluginField field_{kChannelsFirst, nullptr, nvinfer1::PluginFieldType::kINT32, 1};
  nvinfer1::PluginFieldCollection fields_{1, &field_};
};

}  // namespace latentloop::tensorrt

#define LATENTLOOP_EXPORT extern "C" __attribute__((visibility("default")))

LATENTLOOP_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static latentloop::tensorrt::Creator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[]{&creator};
  count = 1;
  return creators;
}

LATENTLOOP_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  latentloop::tensorrt::logger_finder() = finder;
}
