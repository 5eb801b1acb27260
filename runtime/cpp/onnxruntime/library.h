// The process's ONNX Runtime: found and loaded with dlopen, so that nothing links to it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "../../../kernels/operators/onnxruntime/api.h"
#include "operators.h"

namespace latentloop {

// Sets where the library is: its file or folder. Throws Error if it is loaded already.
void set_onnxruntime(const char* path);

class OnnxRuntime : public Api {
 public:
  // Loads the library with the first call. Throws Error (LL_MISSING).
  static OnnxRuntime& get();

  const OrtEnv* environment() const { return environment_; }
  const OrtMemoryInfo* memory() const { return memory_; }
  OrtAllocator* allocator() const { return allocator_; }

  // Returns the options of sessions with so many threads, with the native operators if their library can be loaded.
  // They are kept, because ONNX Runtime never frees the domain that a registration of operators creates.
  const OrtSessionOptions* options(int threads);

  // Returns the session that `create` makes. While the first one is made, no other is: ONNX Runtime (1.32) then adds
  // the domain of the operators to a table without a lock.
  template <typename Create>
  OrtSession* new_session(Create create) {
    std::unique_lock lock{first_session_};
    if (has_session_) lock.unlock();
    OrtSession* session = create();
    if (lock.owns_lock()) has_session_ = true;
    return session;
  }

  struct OptionsDeleter {
    void operator()(OrtSessionOptions* options) const { get().release<ort::ReleaseSessionOptions>(options); }
  };
  using Options = std::unique_ptr<OrtSessionOptions, OptionsDeleter>;

  // Returns new options of the same kind.
  Options new_options(int threads) const;

 private:
  OnnxRuntime(const OrtApi* api, const OrtApiBase* base, RegisterOperators register_operators);
  static OnnxRuntime* load(std::string& path, std::string& problem);

  const OrtApiBase* base_;
  const RegisterOperators register_operators_;  // null without native operators
  OrtEnv* environment_{};
  OrtMemoryInfo* memory_{};
  OrtAllocator* allocator_{};
  std::mutex first_session_;
  bool has_session_{};
  std::mutex mutex_;
  std::map<int, Options> options_;
};

}  // namespace latentloop
