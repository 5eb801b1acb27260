// Tests the TensorRT plugin through TensorRT's interfaces, with the launcher compiled for the CPU simulation: creation
// from fields, types, shapes, formats, workspace, serialisation and execution. The first failure ends the program.
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace {

using namespace nvinfer1;

#define EXPECT(condition) expect(condition, #condition, __LINE__)

void expect(bool holds, const char* what, int line) {
  if (holds) return;
  std::printf("line %d: %s\n", line, what);
  std::exit(1);
}

struct Log final : ILogger, ILoggerFinder {
  std::string last;
  void log(Severity, const char* message) noexcept override { last = message; }
  ILogger* findLogger() override { return this; }
  std::string take() { return std::exchange(last, ""); }
} log_;

// Identified by its address; the plugin only copies pointers to expressions.
struct Expression final : IDimensionExpr {};

struct Builder final : IExprBuilder {};

Dims dims(std::initializer_list<int64_t> sizes) {
  Dims d{};
  for (const int64_t size : sizes) d.d[d.nbDims++] = size;
  return d;
}

DynamicPluginTensorDesc tensor(std::initializer_list<int64_t> sizes, DataType type,
                               TensorFormat format = TensorFormat::kLINEAR) {
  DynamicPluginTensorDesc t{};
  t.desc.dims = t.min = t.max = t.opt = dims(sizes);
  t.desc.type = type;
  t.desc.format = format;
  return t;
}

template <typename T>
std::unique_ptr<IPluginV3> make(PluginFieldType type, T value, int32_t length = 1,
                                const char* name = "channels_first") {
  int32_t count = 0;
  auto* creator = static_cast<IPluginCreatorV3One*>(getCreators(count)[0]);
  EXPECT(count == 1);
  const PluginField field(name, &value, type, length);
  const PluginFieldCollection fields{1, &field};
  return std::unique_ptr<IPluginV3>(creator->createPlugin("a layer", &fields, TensorRTPhase::kBUILD));
}

IPluginV3OneBuild& build(IPluginV3& plugin) {
  return *static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}

IPluginV3OneRuntime& runtime(IPluginV3& plugin) {
  return *static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

void test_creator() {
  for (const int value : {0, 1}) {
    EXPECT(make<int32_t>(PluginFieldType::kINT32, value) != nullptr);
    EXPECT(make<int64_t>(PluginFieldType::kINT64, value) != nullptr);
  }
  EXPECT(log_.take().empty());
  const std::string reason = "NearestCodebook: expected the field channels_first, one integer, 0 or 1";
  EXPECT(make<int32_t>(PluginFieldType::kINT32, 2) == nullptr && log_.take() == reason);
  EXPECT(make<float>(PluginFieldType::kFLOAT32, 1) == nullptr && log_.take() == reason);
  EXPECT(make<int32_t>(PluginFieldType::kINT32, 1, 2) == nullptr && log_.take() == reason);
  EXPECT(make<int32_t>(PluginFieldType::kINT32, 1, 1, "channels") == nullptr && log_.take() == reason);
}

void test_types_and_formats() {
  const auto plugin = make<int32_t>(PluginFieldType::kINT32, 1);
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    DynamicPluginTensorDesc all[]{tensor({2, 5, 3}, type), tensor({7, 5}, type), tensor({2, 3}, DataType::kINT64)};
    for (int i = 0; i < 3; ++i) EXPECT(build(*plugin).supportsFormatCombination(i, all, 2, 1));
    for (int i = 0; i < 3; ++i) {
      all[i].desc.format = TensorFormat::kCHW32;
      EXPECT(!build(*plugin).supportsFormatCombination(i, all, 2, 1));
      all[i].desc.format = TensorFormat::kLINEAR;
      all[i].desc.type = DataType::kINT8;
      EXPECT(!build(*plugin).supportsFormatCombination(i, all, 2, 1));
      all[i].desc.type = i == 2 ? DataType::kINT64 : type;
    }
    const DataType inputs[]{type, type}, mixed[]{type, DataType::kINT8};
    DataType output{};
    EXPECT(build(*plugin).getOutputDataTypes(&output, 1, inputs, 2) == 0 && output == DataType::kINT64);
    EXPECT(build(*plugin).getOutputDataTypes(&output, 1, mixed, 2) != 0);
    EXPECT(log_.take() == "NearestCodebook: z and codebook are of different types");
  }
}

// Returns a plugin created from the fields that are serialised into a plan.
std::unique_ptr<IPluginV3> restored(IPluginV3& plugin) {
  int32_t count = 0;
  auto* creator = static_cast<IPluginCreatorV3One*>(getCreators(count)[0]);
  return std::unique_ptr<IPluginV3>(
      creator->createPlugin("restored", runtime(plugin).getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
}

void test_shapes() {
  std::vector<std::unique_ptr<Expression>> sizes;
  for (int i = 0; i < 6; ++i) sizes.push_back(std::make_unique<Expression>());
  DimsExprs inputs[2]{}, output{};
  inputs[0].nbDims = 4;
  for (int i = 0; i < 4; ++i) inputs[0].d[i] = sizes[static_cast<size_t>(i)].get();
  inputs[1].nbDims = 2;
  Builder builder;
  for (const int32_t channels_first : {0, 1}) {
    const auto original = make<int32_t>(PluginFieldType::kINT32, channels_first);
    const auto cloned = std::unique_ptr<IPluginV3>(original->clone());
    const auto plugin = restored(*cloned);
    EXPECT(build(*plugin).getNbOutputs() == 1);
    EXPECT(build(*plugin).getOutputShapes(inputs, 2, nullptr, 0, &output, 1, builder) == 0);
    EXPECT(output.nbDims == 3);
    for (int i = 0; i < 3; ++i) EXPECT(output.d[i] == inputs[0].d[channels_first && i > 0 ? i + 1 : i]);
    for (const int rank : {1, 3}) {
      inputs[1].nbDims = rank;
      EXPECT(build(*plugin).getOutputShapes(inputs, 2, nullptr, 0, &output, 1, builder) != 0);
      EXPECT(!log_.take().empty());
    }
    inputs[1].nbDims = 2;
  }
}

// Converts by truncation to the upper bytes, which is exact for these values in bfloat16.
std::vector<char> narrowed(const std::vector<float>& values, DataType type) {
  const size_t bytes = type == DataType::kFLOAT ? 4 : 2;
  std::vector<char> out(values.size() * bytes);
  for (size_t i = 0; i < values.size(); ++i)
    std::memcpy(&out[i * bytes], reinterpret_cast<const char*>(&values[i]) + 4 - bytes, bytes);
  return out;
}

void test_enqueue(DataType type) {
  // Two images of 3 positions, vectors of 2 dimensions: (0, 1), (9, 8), (4, 4), then (8, 7), (0, 0), a NaN.
  const auto z = narrowed({0, 9, 4, 1, 8, 4, 8, 0, __builtin_nanf(""), 7, 0, 1}, type);
  const auto codebook = narrowed({0, 0, 8, 8}, type);
  const auto plugin = make<int32_t>(PluginFieldType::kINT32, 1);
  const auto attached = std::unique_ptr<IPluginV3>(runtime(*plugin).attachToContext(nullptr));
  DynamicPluginTensorDesc dynamic[]{tensor({-1, 2, 3}, type), tensor({2, 2}, type)};
  dynamic[0].max = dims({2, 2, 3});
  // Exactly the requested size, so that AddressSanitizer detects writes beyond.
  const size_t bytes = build(*plugin).getWorkspaceSize(dynamic, 2, nullptr, 1);
  const std::unique_ptr<void, decltype(&std::free)> workspace(std::malloc(bytes), &std::free);
  const PluginTensorDesc inputs[]{tensor({2, 2, 3}, type).desc, dynamic[1].desc};
  const PluginTensorDesc output = tensor({2, 3}, DataType::kINT64).desc;
  int64_t index[6]{7, 7, 7, 7, 7, 7};
  const void* const in[]{z.data(), codebook.data()};
  void* const out[]{index};
  EXPECT(runtime(*attached).onShapeChange(inputs, 2, &output, 1) == 0);
  EXPECT(runtime(*attached).enqueue(inputs, &output, in, out, workspace.get(), nullptr) == 0);
  const int64_t expected[]{0, 1, 0, 1, 0, -1};
  for (int i = 0; i < 6; ++i) EXPECT(index[i] == expected[i]);
  EXPECT(log_.take().empty());

  std::vector<char> oversized(bytes + 32);
  char* const aligned = oversized.data() + (16 - reinterpret_cast<uintptr_t>(oversized.data()) % 16);
  EXPECT(runtime(*attached).enqueue(inputs, &output, in, out, aligned + 4, nullptr) != 0);
  EXPECT(log_.take().find("expected device memory that is aligned to 16 bytes") != std::string::npos);
  const PluginTensorDesc other[]{inputs[0], tensor({2, 3}, type).desc};
  EXPECT(runtime(*attached).onShapeChange(other, 2, &output, 1) != 0);
  EXPECT(log_.take().find("the shapes of z and codebook do not fit") != std::string::npos);
  const PluginTensorDesc many[]{inputs[0], tensor({65537, 2}, type).desc};
  EXPECT(runtime(*attached).enqueue(many, &output, in, out, workspace.get(), nullptr) != 0);
  EXPECT(log_.take() == "codewords is 65537, expected 1 to 65536");
}

}  // namespace

int main() {
  setLoggerFinder(&log_);
  test_creator();
  test_types_and_formats();
  test_shapes();
  for (const DataType type : {DataType::kFLOAT, DataType::kBF16}) test_enqueue(type);
  return 0;
}
