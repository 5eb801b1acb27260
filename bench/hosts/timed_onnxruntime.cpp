// A library in the place of ONNX Runtime's that passes everything on to it, and measures how long graphs run: what is
// left of an image's time is the host's. LATENTLOOP_BENCH_ONNXRUNTIME names the file of the real library.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>

namespace {

// ONNX Runtime's table of functions: the positions never change, and version 20 has this many.
constexpr uint32_t kVersion{20};
constexpr int kEntries{285}, kRunWithBinding{133};

struct Api {
  void* entry[kEntries];
};

struct ApiBase {
  const Api* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

using Run = void* (*)(void* session, const void* options, const void* binding);

std::atomic<int64_t> nanoseconds{}, runs{};
Run real_run{};

const ApiBase* real_base() {
  static const ApiBase* base = [] {
    const char* path = std::getenv("LATENTLOOP_BENCH_ONNXRUNTIME");
    void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void* function = library == nullptr ? nullptr : dlsym(library, "OrtGetApiBase");
    return function == nullptr ? nullptr : reinterpret_cast<const ApiBase* (*)()>(function)();
  }();
  return base;
}

void* timed_run(void* session, const void* options, const void* binding) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  void* status = real_run(session, options, binding);
  nanoseconds += std::chrono::nanoseconds{Clock::now() - begin}.count();
  ++runs;
  return status;
}

// Returns the real table with one function replaced; for another version, which can be shorter, null.
const Api* get_api(uint32_t version) {
  static const Api* table = []() -> const Api* {
    const Api* real = real_base() == nullptr ? nullptr : real_base()->get_api(kVersion);
    if (real == nullptr) return nullptr;
    auto* copy = new Api(*real);
    real_run = reinterpret_cast<Run>(real->entry[kRunWithBinding]);
    copy->entry[kRunWithBinding] = reinterpret_cast<void*>(&timed_run);
    return copy;
  }();
  return version == kVersion ? table : nullptr;
}

const char* get_version() {
  return real_base() == nullptr ? "not the file in LATENTLOOP_BENCH_ONNXRUNTIME" : real_base()->get_version();
}

constexpr ApiBase kBase{get_api, get_version};

}  // namespace

extern "C" {

const ApiBase* OrtGetApiBase() { return &kBase; }

// What was measured since the process began.
void latentloop_bench_graph_time(int64_t* total_nanoseconds, int64_t* total_runs) {
  *total_nanoseconds = nanoseconds;
  *total_runs = runs;
}

}  // extern "C"
