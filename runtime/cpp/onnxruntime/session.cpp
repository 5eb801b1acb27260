#include "session.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
#include <system_error>
#include <thread>

#include "../errors.h"
#include "../io/file.h"
#include "failures.h"

namespace latentloop {

namespace {

bool is_link(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

// A file in memory.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file >= 0 && fstat(file, &status) == 0) {
      size_ = static_cast<size_t>(status.st_size);
      memory_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    if (file >= 0) close(file);
    if (memory_ == MAP_FAILED) throw Error(LL_BAD_BUNDLE, text(path, ": cannot be read"));
  }
  ~Mapping() { munmap(memory_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* data() const { return static_cast<char*>(memory_); }
  size_t size() const { return size_; }

 private:
  void* memory_{MAP_FAILED};
  size_t size_{};
};

std::vector<char> content_of(const std::string& path) {
  File file{path};
  std::vector<char> content(static_cast<size_t>(file.status().st_size));
  size_t size = 0;
  while (const size_t count = file.read(content.data() + size, content.size() - size)) size += count;
  content.resize(size);
  return content;
}

// ONNX Runtime maps the weights from their file. From release 1.24 on it refuses a file that is a link to another
// folder, so such a file is mapped here; it copies what it uses.
OrtSession* load_with_linked_weights(const Bundle& bundle, const std::string& path, int threads) {
  OnnxRuntime& runtime = OnnxRuntime::get();
  const std::string& weights = bundle.manifest().weights;
  const Mapping mapping{bundle.path(weights)};
  const OnnxRuntime::Options options = runtime.new_options(threads);
  const char* name = weights.c_str();
  char* data = mapping.data();
  const size_t size = mapping.size();
  runtime.call<ort::AddExternalInitializersFromFilesInMemory>(options.get(), &name, &data, &size, size_t{1});
  // Other external data is looked up in this folder only, not in the working directory.
  runtime.call<ort::AddSessionConfigEntry>(options.get(), "session.model_external_initializers_file_folder_path",
                                           bundle.folder().c_str());
  const std::vector<char> model = content_of(path);
  OrtSession* session = nullptr;
  runtime.call<ort::CreateSessionFromArray>(runtime.environment(), static_cast<const void*>(model.data()), model.size(),
                                            static_cast<const OrtSessionOptions*>(options.get()), &session);
  return session;
}

// Throws Error if the system does not allow so many more threads. ONNX Runtime would wait for ever for those that it
// has started.
void check_threads(int threads) {
  std::vector<std::thread> started;
  std::mutex gate;
  std::string problem;
  {
    const std::lock_guard closed{gate};  // all of them exist at the same time
    try {
      for (int i = 1; i < threads; ++i) started.emplace_back([&gate] { const std::lock_guard passed{gate}; });
    } catch (const std::system_error& error) {
      problem = error.what();
    }
  }
  for (std::thread& thread : started) thread.join();
  if (!problem.empty())
    throw Error(LL_OUT_OF_MEMORY,
                text("the system does not allow ", threads, " more threads: use fewer (", problem, ")"));
}

template <typename Count, typename Name, typename Info>
std::vector<Tensor> tensors(const OrtSession* session) {
  OnnxRuntime& runtime = OnnxRuntime::get();
  size_t count = 0;
  runtime.call<Count>(session, &count);
  std::vector<Tensor> found(count);
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    runtime.call<Name>(session, i, runtime.allocator(), &name);
    found[i].name = name;
    runtime.call<ort::AllocatorFree>(runtime.allocator(), static_cast<void*>(name));
    OrtTypeInfo* type = nullptr;
    runtime.call<Info>(session, i, &type);
    const std::unique_ptr<OrtTypeInfo, void (*)(OrtTypeInfo*)> owner{
        type, [](OrtTypeInfo* info) { OnnxRuntime::get().release<ort::ReleaseTypeInfo>(info); }};
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    runtime.call<ort::CastTypeInfoToTensorInfo>(static_cast<const OrtTypeInfo*>(type), &info);
    if (info == nullptr) continue;  // not a tensor: it has the type 0
    size_t rank = 0;
    runtime.call<ort::GetTensorElementType>(info, &found[i].type);
    runtime.call<ort::GetDimensionsCount>(info, &rank);
    found[i].shape.resize(rank);
    runtime.call<ort::GetDimensions>(info, found[i].shape.data(), rank);
  }
  return found;
}

}  // namespace

Session::Session(const Bundle& bundle, const std::string& file, int threads) : path_(bundle.path(file)) {
  const std::vector<std::string> files{file, bundle.manifest().weights};
  bundle.check_unchanged(files);
  try {
    load(bundle, threads);
    describe();
    bundle.check_unchanged(files);
  } catch (...) {
    if (session_ != nullptr) OnnxRuntime::get().release<ort::ReleaseSession>(session_);
    bundle.check_unchanged(files);  // explains a failure better
    rethrow_as_bundle_error(text(path_, ": ONNX Runtime cannot load it"));
  }
}

Session::~Session() { OnnxRuntime::get().release<ort::ReleaseSession>(session_); }

void Session::load(const Bundle& bundle, int threads) {
  OnnxRuntime& runtime = OnnxRuntime::get();
  check_threads(threads);
  session_ = runtime.new_session([&] {
    if (is_link(bundle.path(bundle.manifest().weights))) return load_with_linked_weights(bundle, path_, threads);
    OrtSession* session = nullptr;
    runtime.call<ort::CreateSession>(runtime.environment(), path_.c_str(), runtime.options(threads), &session);
    return session;
  });
}

void Session::describe() {
  inputs_ = tensors<ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo>(session_);
  outputs_ = tensors<ort::SessionGetOutputCount, ort::SessionGetOutputName, ort::SessionGetOutputTypeInfo>(session_);
}

std::shared_ptr<const Session> Sessions::get(const std::string& file, int threads) {
  const std::lock_guard lock{mutex_};
  auto& kept = sessions_[{file, threads}];
  auto session = kept.lock();
  if (!session) {
    session = std::make_shared<const Session>(*bundle_, file, threads);
    kept = session;
  }
  return session;
}

}  // namespace latentloop
