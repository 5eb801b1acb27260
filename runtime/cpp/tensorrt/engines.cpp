#include "engines.h"

#include <algorithm>
#include <optional>

#include "../errors.h"
#include "execution.h"

namespace latentloop {

namespace {

// Returns the type of state buffers and arrays; nullopt for types that no set has.
std::optional<Type> type_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return Type::float32;
    case nvinfer1::DataType::kHALF:
      return Type::float16;
    case nvinfer1::DataType::kBF16:
      return Type::bfloat16;
    case nvinfer1::DataType::kINT64:
      return Type::int64;
    case nvinfer1::DataType::kUINT8:
      return Type::uint8;
    default:
      return std::nullopt;
  }
}

}  // namespace

TensorRtEngines::TensorRtEngines(EngineSet set, std::shared_ptr<const cuda::GpuContext> context)
    : set_(std::move(set)), plans_(set_), context_(std::move(context)) {
  ErrorLog::take();
  runtime_.reset(TensorRt::get().new_runtime());
  if (!runtime_) throw Error(LL_DEVICE, text("TensorRT does not start: ", reported_reason()));
}

TensorRtEngines::~TensorRtEngines() {
  try {
    on_gpu(*context_, [this] {
      loaded_.clear();
      runtime_.reset();
    });
  } catch (const Error&) {  // the caller has destroyed the context, and with it everything in it
  }
}

int64_t TensorRtEngines::largest_batch() const {
  const auto smaller = [](const Profile& a, const Profile& b) { return a.maximum < b.maximum; };
  return std::max_element(set_.profiles.begin(), set_.profiles.end(), smaller)->maximum;
}

std::unique_ptr<DeviceGraph> TensorRtEngines::load(const std::string& file, int64_t batch, cuda::StreamHandle stream) {
  const int32_t profile = narrowest_profile(batch);
  const std::lock_guard lock{mutex_};
  nvinfer1::ICudaEngine& plan = engine(file);
  ErrorLog::take();
  auto execution = Execution::create(text(set_.folder, "/", file), plan, profile, stream);
  if (!execution) throw load_error(set_, file);
  return execution;
}

// Returns the number of the profile with the fewest batch sizes, which is the best tuned one for a batch size.
int32_t TensorRtEngines::narrowest_profile(int64_t batch) const {
  const auto& profiles = set_.profiles;
  const Profile* best = nullptr;
  for (const Profile& each : profiles) {
    if (batch < each.minimum || batch > each.maximum) continue;
    if (best == nullptr || each.maximum - each.minimum < best->maximum - best->minimum) best = &each;
  }
  if (best == nullptr)
    throw Error(LL_INVALID_ARGUMENT,
                text(set_.folder, ": built for batches of at most ", largest_batch(), ", requested ", batch,
                     ": use a smaller one, or build engines with a larger --max-batch"));
  return static_cast<int32_t>(best - profiles.data());
}

nvinfer1::ICudaEngine& TensorRtEngines::engine(const std::string& file) {
  auto& loaded = loaded_[file];
  if (loaded) return *loaded;
  const std::vector<char> plan = plans_.read(file);
  ErrorLog::take();
  std::unique_ptr<nvinfer1::ICudaEngine> made{runtime_->deserializeCudaEngine(plan.data(), plan.size())};
  if (!made) throw load_error(set_, file);
  check_bindings(file, *made);
  loaded = std::move(made);
  return *loaded;
}

// Throws Error if the plan's inputs and outputs differ from those in the set's manifest.
void TensorRtEngines::check_bindings(const std::string& file, const nvinfer1::ICudaEngine& engine) const {
  std::map<std::string, std::optional<Type>> expected, actual;
  for (const auto& [name, type] : io_types(set_, file)) expected[name] = type;
  for (int32_t n = 0; n < engine.getNbIOTensors(); ++n) {
    const char* name = engine.getIOTensorName(n);
    actual[name] = type_of(engine.getTensorDataType(name));
  }
  std::vector<std::string> differing;
  for (const auto& [name, type] : expected) {
    const auto found = actual.find(name);
    if (found == actual.end() || found->second != type) differing.push_back(name);
  }
  for (const auto& [name, type] : actual)
    if (expected.count(name) == 0) differing.push_back(name);
  if (!differing.empty())
    throw Error(LL_BAD_BUNDLE,
                text(set_.folder, "/", file, ": inputs and outputs of plan and manifest differ: ", joined(differing)));
}

}  // namespace latentloop
