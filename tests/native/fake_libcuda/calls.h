// What every exported function does first: it takes the mutex, counts and logs the call, and fails if that is planned.
#ifndef LATENTLOOP_TESTS_CUDA_CALLS_H_
#define LATENTLOOP_TESTS_CUDA_CALLS_H_

#include <cstdio>
#include <mutex>

#include "enqueuing.h"

#define CUDA(name, ...)                                                             \
  extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__) noexcept; \
  extern "C" int name(__VA_ARGS__) noexcept

// Begins a call, and returns from it if it is to fail.
#define CALL(...)               \
  const Call call{__VA_ARGS__}; \
  if (call.status() != kSuccess) return call.status()

namespace fake_cuda {

// Appends a line to the file that LATENTLOOP_TEST_CALLS names, if it is set.
inline void log_call(const char* name) {
  const char* path = std::getenv("LATENTLOOP_TEST_CALLS");
  if (path == nullptr) return;
  if (std::FILE* file = std::fopen(path, "a")) {
    std::fprintf(file, "%s\n", name);
    std::fclose(file);
  }
}

class Calls {
 public:
  static Calls& get() {
    static auto* instance = new Calls;
    return *instance;
  }

  // Counts a call. Returns the status with which it is to fail, or 0.
  int count(const std::string& function) {
    const int64_t number = ++counts_[function];
    const auto planned = failures_.find(function);
    if (planned == failures_.end()) return kSuccess;
    const auto [call, status] = planned->second;
    return call == 0 || call == number ? status : kSuccess;
  }

  int64_t counted(const std::string& function) const {
    const auto entry = counts_.find(function);
    return entry == counts_.end() ? 0 : entry->second;
  }

  void fail(const std::string& function, int64_t call, int status) {
    failures_[function] = {call == 0 ? 0 : counted(function) + call, status};
  }

  void reset() {
    counts_.clear();
    failures_.clear();
  }

 private:
  Calls() {
    const char* planned = std::getenv("LATENTLOOP_TEST_FAILURES");
    for (const char* at = planned; at != nullptr && *at != '\0';) {
      char function[64];
      long long call = 0;
      int status = 0, length = 0;
      if (std::sscanf(at, "%63[^:]:%lld:%d%n", function, &call, &status, &length) != 3) break;
      fail(function, call, status);
      at += length + (at[length] == ',');
    }
  }

  std::map<std::string, int64_t> counts_;
  std::map<std::string, std::pair<int64_t, int>> failures_;
};

class Call {
 public:
  // `logged` is the line of the log file, if it is not the function's name.
  explicit Call(const char* function, const char* logged = nullptr)
      : lock_(simulation().mutex), text_(function), status_(Calls::get().count(function)) {
    log_call(logged == nullptr ? function : logged);
    const bool is_first = text_ == "cuInit" || text_ == "cuDriverGetVersion";
    if (status_ == kSuccess && !is_first && !simulation().initialized) status_ = kNotInitialized;
  }

  int status() const { return status_; }
  const std::string& text() const { return text_; }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
  std::string text_;
  int status_;
};

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_CALLS_H_
