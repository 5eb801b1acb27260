#include "library.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "../errors.h"
#include "../io/log.h"
#include "../libraries/library_path.h"
#include "../libraries/shared_library.h"

namespace latentloop {

namespace {

constexpr const char* kTitle{kIsForRtx ? "TensorRT for RTX" : "TensorRT"};
const std::string kFile{kIsForRtx ? "libtensorrt_rtx.so" : "libnvinfer.so"};

thread_local std::string last_error;

std::string built_for() { return text(kTitle, " ", NV_TENSORRT_MAJOR, ".", NV_TENSORRT_MINOR); }

// What the whole process shares. It is never destroyed: TensorRT keeps the log, and samplers may end during the end of
// the process.
struct Shared {
  std::mutex mutex;  // of the loading
  LibrarySearch search{
      kTitle,
      "LATENTLOOP_TENSORRT",
      {text(kFile, ".", NV_TENSORRT_MAJOR), kFile},
      kFile,
      text("call ll_set_tensorrt, or set LATENTLOOP_TENSORRT to the file or folder of ", kFile, " of ", built_for()),
      ""};
  ErrorLog log;
  std::atomic<const TensorRt*> loaded{};
};

Shared& shared() {
  static auto* instance = new Shared;
  return *instance;
}

// Returns whether objects of the library have the functions of the headers. Minor versions of TensorRT add some; of
// TensorRT for RTX nothing is promised.
bool is_compatible(int32_t major, int32_t minor) {
  if (major != NV_TENSORRT_MAJOR) return false;
  return kIsForRtx ? minor == NV_TENSORRT_MINOR : minor >= NV_TENSORRT_MINOR;
}

}  // namespace

void set_tensorrt(const char* path) {
  const std::lock_guard lock{shared().mutex};
  if (shared().loaded != nullptr)
    throw Error(LL_INVALID_ARGUMENT, "TensorRT is loaded already: set its path before the first sampler on a GPU");
  set_path(shared().search, path);
}

void ErrorLog::log(Severity severity, const char* message) noexcept {
  if (severity != Severity::kINTERNAL_ERROR && severity != Severity::kERROR) return;
  try {
    last_error.clear();
    for (; *message != '\0'; ++message) {  // in one line
      const bool is_space = *message == ' ' || *message == '\n' || *message == '\t';
      if (!is_space) last_error += *message;
      if (is_space && !last_error.empty() && last_error.back() != ' ') last_error += ' ';
    }
  } catch (...) {
    last_error.clear();
  }
}

std::string ErrorLog::take() { return std::exchange(last_error, ""); }

const TensorRt& TensorRt::get() {
  if (const TensorRt* loaded = shared().loaded.load()) return *loaded;
  bool is_new = false;
  {
    const std::lock_guard lock{shared().mutex};
    if (shared().loaded.load() == nullptr) {
      std::string problems;
      const TensorRt* loaded = load(problems);
      if (loaded == nullptr)
        throw Error(LL_MISSING, text(kTitle, " cannot be loaded: ", problems, ": ", shared().search.remedy));
      shared().loaded = loaded;
      is_new = true;
    }
  }
  const TensorRt& loaded = *shared().loaded.load();
  if (is_new) log(LL_LOG_INFO, text(kTitle, " ", loaded.version(), ": ", loaded.path()));
  return loaded;
}

const char* TensorRt::flavour() { return kIsForRtx ? "tensorrt_rtx" : "tensorrt"; }

const TensorRt* TensorRt::load(std::string& problems) {
  for (const std::string& candidate : candidates(shared().search)) {
    std::string problem;
    if (const TensorRt* loaded = load_from(candidate, problem)) return loaded;
    problems += (problems.empty() ? "" : "; ") + problem;
  }
  return nullptr;
}

const TensorRt* TensorRt::load_from(const std::string& path, std::string& problem) {
  void* handle = open_library(path, problem);
  if (handle == nullptr) return nullptr;
  const auto number = [handle](const char* name) {
    const auto function = reinterpret_cast<int32_t (*)()>(dlsym(handle, name));
    return function == nullptr ? -1 : function();
  };
  const int32_t major = number("getInferLibMajorVersion"), minor = number("getInferLibMinorVersion"),
                patch = number("getInferLibPatchVersion"), build = number("getInferLibBuildVersion");
  auto* create = reinterpret_cast<Create*>(dlsym(handle, "createInferRuntime_INTERNAL"));
  if (create == nullptr || major < 0 || minor < 0 || patch < 0 || build < 0) {
    problem = path + " is not TensorRT's library, or is older than 10";
    return nullptr;
  }
  std::string version = text(major, ".", minor, ".", patch, ".", build);
  if (!is_compatible(major, minor)) {
    problem = text(path, " is version ", version, ", but this library was built for ", built_for());
    return nullptr;
  }
  return new TensorRt(path, std::move(version), create);
}

nvinfer1::IRuntime* TensorRt::new_runtime() const {
  return static_cast<nvinfer1::IRuntime*>(create_(&shared().log, NV_TENSORRT_VERSION));
}

}  // namespace latentloop
