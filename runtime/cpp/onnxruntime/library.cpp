#include "library.h"

#include <dlfcn.h>

#include <atomic>

#include "../errors.h"
#include "../io/log.h"
#include "../libraries/library_path.h"
#include "../libraries/shared_library.h"

namespace latentloop {

namespace {

// What the whole process shares. It is never destroyed, so that sessions may end during the end of the process.
struct Shared {
  std::mutex mutex;  // of the loading
  LibrarySearch search{"ONNX Runtime",
                       "LATENTLOOP_ONNXRUNTIME",
                       {"libonnxruntime.so.1", "libonnxruntime.so"},
                       "libonnxruntime.so",
                       "call ll_set_onnxruntime, or set LATENTLOOP_ONNXRUNTIME to the file or folder of "
                       "libonnxruntime.so, version 1.20 or newer",
                       ""};
  std::atomic<OnnxRuntime*> loaded{};
};

Shared& shared() {
  static auto* instance = new Shared;
  return *instance;
}

struct Loaded {
  std::string path;
  const OrtApiBase* base;
  const OrtApi* api;
};

// Loads a library. Sets `problem` if it is not ONNX Runtime, or is too old.
Loaded load_from(const std::string& path, std::string& problem) {
  Loaded loaded{path, nullptr, nullptr};
  void* handle = open_library(path, problem);
  if (handle == nullptr) return loaded;
  const auto get_base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
  loaded.base = get_base == nullptr ? nullptr : get_base();
  if (loaded.base == nullptr) {
    problem = path + " is not ONNX Runtime's library";
    return loaded;
  }
  loaded.api = loaded.base->GetApi(ort::kApiVersion);
  if (loaded.api != nullptr) return loaded;
  const char* version = loaded.base->GetVersionString();
  problem =
      text(path, " is ONNX Runtime ", version == nullptr ? "of another kind" : version, ", expected 1.20 or newer");
  return loaded;
}

// Loads the first candidate that can be used.
Loaded load_from_candidates(const LibrarySearch& search) {
  std::string problems;
  for (const std::string& candidate : candidates(search)) {
    std::string problem;
    Loaded loaded = load_from(candidate, problem);
    if (loaded.api != nullptr) return loaded;
    problems += (problems.empty() ? "" : "; ") + problem;
  }
  throw Error(LL_MISSING, text(search.title, " cannot be loaded: ", problems, ": ", search.remedy));
}

}  // namespace

void set_onnxruntime(const char* path) {
  const std::lock_guard lock{shared().mutex};
  if (shared().loaded != nullptr)
    throw Error(LL_INVALID_ARGUMENT, "ONNX Runtime is loaded already: set its path before the first sampler");
  set_path(shared().search, path);
}

OnnxRuntime& OnnxRuntime::get() {
  if (OnnxRuntime* loaded = shared().loaded.load()) return *loaded;
  std::string path, problem;  // logged after the lock is released: the program's function may call this library
  {
    const std::lock_guard lock{shared().mutex};
    if (shared().loaded.load() == nullptr) shared().loaded = load(path, problem);
  }
  if (!path.empty()) log(LL_LOG_INFO, "ONNX Runtime: " + path);
  if (!problem.empty()) log(LL_LOG_WARNING, problem);
  return *shared().loaded.load();
}

// Loads ONNX Runtime and the native operators, and sets the path of the first, and the problem of the second if any.
OnnxRuntime* OnnxRuntime::load(std::string& path, std::string& problem) {
  const Loaded loaded = load_from_candidates(shared().search);
  path = loaded.path;
  try {
    return new OnnxRuntime(loaded.api, loaded.base, load_native_operators(problem));
  } catch (const std::runtime_error& error) {
    throw Error(LL_MISSING, text(path, ": ONNX Runtime does not start: ", error.what()));
  }
}

OnnxRuntime::OnnxRuntime(const OrtApi* api, const OrtApiBase* base, RegisterOperators register_operators)
    : Api(api), base_(base), register_operators_(register_operators) {
  call<ort::CreateEnv>(int{ort::kFatal}, "latentloop", &environment_);
  call<ort::CreateCpuMemoryInfo>(int{ort::kDeviceAllocator}, int{ort::kDefaultMemory}, &memory_);
  call<ort::GetAllocatorWithDefaultOptions>(&allocator_);
}

const OrtSessionOptions* OnnxRuntime::options(int threads) {
  const std::lock_guard lock{mutex_};
  Options& kept = options_[threads];
  if (!kept) kept = new_options(threads);
  return kept.get();
}

OnnxRuntime::Options OnnxRuntime::new_options(int threads) const {
  OrtSessionOptions* created = nullptr;
  call<ort::CreateSessionOptions>(&created);
  Options options{created};
  call<ort::SetSessionLogSeverityLevel>(created, int{ort::kFatal});  // statuses contain the same texts
  call<ort::SetIntraOpNumThreads>(created, threads);
  // Each graph's session has its own threads: idle threads that spin would slow the others down.
  call<ort::AddSessionConfigEntry>(created, "session.intra_op.allow_spinning", "0");
  if (register_operators_ != nullptr) check(register_operators_(created, base_));
  return options;
}

}  // namespace latentloop
