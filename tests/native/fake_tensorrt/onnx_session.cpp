#include "onnx_session.h"

#include <dirent.h>
#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>

#include "fake_cuda.h"

namespace fake_tensorrt {

namespace {

namespace ort = latentloop::ort;

using GetSymbolicDimensions = ort::Function<63, const OrtTensorTypeAndShapeInfo*, const char**, size_t>;

// Returns the library's file, if LATENTLOOP_ONNXRUNTIME names its folder.
std::string library_file() {
  const char* variable = std::getenv("LATENTLOOP_ONNXRUNTIME");
  if (variable == nullptr) throw std::runtime_error("LATENTLOOP_ONNXRUNTIME is not set");
  DIR* entries = opendir(variable);
  if (entries == nullptr) return variable;
  std::string found{variable};
  while (const dirent* entry = readdir(entries)) {
    const std::string name{entry->d_name};
    if (name.rfind("libonnxruntime.so", 0) == 0) found = std::string(variable) + "/" + name;
  }
  closedir(entries);
  return found;
}

class Library : public latentloop::Api {
 public:
  static const Library& get() {
    static const auto* instance = new Library(load());
    return *instance;
  }

  OrtEnv* environment{};
  OrtMemoryInfo* memory{};
  OrtAllocator* allocator{};

 private:
  explicit Library(const OrtApi* api) : Api(api) {
    call<ort::CreateEnv>(int{ort::kFatal}, "fake TensorRT", &environment);
    call<ort::CreateCpuMemoryInfo>(int{ort::kDeviceAllocator}, int{ort::kDefaultMemory}, &memory);
    call<ort::GetAllocatorWithDefaultOptions>(&allocator);
  }

  static const OrtApi* load() {
    void* handle = dlopen(library_file().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw std::runtime_error(dlerror());
    const auto get_base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
    const OrtApi* api = get_base == nullptr ? nullptr : get_base()->GetApi(ort::kApiVersion);
    if (api == nullptr) throw std::runtime_error("ONNX Runtime is older than 1.20");
    return api;
  }
};

template <typename Count, typename Name, typename Info>
std::vector<Tensor> tensors_of(const OrtSession* session) {
  const Library& library = Library::get();
  size_t count = 0;
  library.call<Count>(session, &count);
  std::vector<Tensor> found(count);
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    library.call<Name>(session, i, library.allocator, &name);
    found[i].name = name;
    library.call<ort::AllocatorFree>(library.allocator, static_cast<void*>(name));
    OrtTypeInfo* type = nullptr;
    library.call<Info>(session, i, &type);
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    library.call<ort::CastTypeInfoToTensorInfo>(static_cast<const OrtTypeInfo*>(type), &info);
    if (info == nullptr) throw std::runtime_error(found[i].name + " is not a tensor");
    size_t rank = 0;
    library.call<ort::GetTensorElementType>(info, &found[i].type);
    library.call<ort::GetDimensionsCount>(info, &rank);
    found[i].shape.resize(rank);
    library.call<ort::GetDimensions>(info, found[i].shape.data(), rank);
    std::vector<const char*> names(rank);
    library.call<GetSymbolicDimensions>(info, names.data(), rank);
    found[i].size_names.assign(names.begin(), names.end());
    library.release<ort::ReleaseTypeInfo>(type);
  }
  return found;
}

// An IoBinding with its values.
class Binding {
 public:
  Binding(OrtSession* session, const std::vector<BoundTensor>& tensors) : session_(session) {
    const Library& library = Library::get();
    library.call<ort::CreateIoBinding>(session, &binding_);
    for (const BoundTensor& tensor : tensors) {
      OrtValue* value = nullptr;
      library.call<ort::CreateTensorWithDataAsOrtValue>(static_cast<const OrtMemoryInfo*>(library.memory),
                                                        tensor.memory, tensor.bytes, tensor.shape.data(),
                                                        tensor.shape.size(), int{tensor.type}, &value);
      const std::unique_ptr<OrtValue, void (*)(OrtValue*)> owner{
          value, [](OrtValue* each) { Library::get().release<ort::ReleaseValue>(each); }};
      const auto* bound = static_cast<const OrtValue*>(value);  // the binding shares it
      if (tensor.is_output) {
        library.call<ort::BindOutput>(binding_, tensor.name.c_str(), bound);
      } else {
        library.call<ort::BindInput>(binding_, tensor.name.c_str(), bound);
      }
    }
  }
  ~Binding() { Library::get().release<ort::ReleaseIoBinding>(binding_); }
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  void run() const {
    Library::get().call<ort::RunWithBinding>(session_, static_cast<const OrtRunOptions*>(nullptr),
                                             static_cast<const OrtIoBinding*>(binding_));
  }

 private:
  OrtSession* session_;
  OrtIoBinding* binding_{};
};

}  // namespace

std::shared_ptr<const OnnxSession> OnnxSession::of(const Plan& plan) {
  static std::mutex mutex;
  static auto* sessions = new std::map<std::string, std::shared_ptr<const OnnxSession>>;
  const std::lock_guard lock{mutex};
  auto& session = (*sessions)[plan.digest];
  if (!session) session = std::make_shared<const OnnxSession>(plan.model);
  return session;
}

OnnxSession::OnnxSession(const std::string& model) {
  const Library& library = Library::get();
  OrtSessionOptions* options = nullptr;
  library.call<ort::CreateSessionOptions>(&options);
  const std::unique_ptr<OrtSessionOptions, void (*)(OrtSessionOptions*)> owner{
      options, [](OrtSessionOptions* each) { Library::get().release<ort::ReleaseSessionOptions>(each); }};
  library.call<ort::SetSessionLogSeverityLevel>(options, int{ort::kFatal});
  library.call<ort::SetIntraOpNumThreads>(options, 1);
  // Otherwise ONNX Runtime multiplies dequantised weights as integers, and rounds the other factor to integers.
  library.call<ort::AddSessionConfigEntry>(options, "session.disable_quant_qdq", "1");
  library.call<ort::CreateSessionFromArray>(static_cast<const OrtEnv*>(library.environment),
                                            static_cast<const void*>(model.data()), model.size(),
                                            static_cast<const OrtSessionOptions*>(options), &session_);
  inputs_ = tensors_of<ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo>(session_);
  outputs_ = tensors_of<ort::SessionGetOutputCount, ort::SessionGetOutputName, ort::SessionGetOutputTypeInfo>(session_);
}

std::function<int()> bound_run(const std::string& text, std::shared_ptr<const OnnxSession> session,
                               std::vector<BoundTensor> tensors) {
  // The binding is made by the first run: it costs as much time as a run, and not every run happens.
  const auto binding = std::make_shared<std::unique_ptr<Binding>>();
  return [=, tensors = std::move(tensors)] {
    try {
      if (!*binding) *binding = std::make_unique<Binding>(session->get(), tensors);
      (*binding)->run();
      return 0;
    } catch (const std::runtime_error& error) {
      fake_cuda_violate((text + ": " + error.what()).c_str());
      return 719;  // CUDA_ERROR_LAUNCH_FAILED
    }
  };
}

}  // namespace fake_tensorrt
