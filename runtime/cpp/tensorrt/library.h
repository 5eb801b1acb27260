// The process's TensorRT: the library of the flavour and version that the headers of the build are for, found and
// loaded with dlopen.
#pragma once

#include <string>

#include "headers.h"

namespace latentloop {

// Sets where the library is: its file or folder. Throws Error if it is loaded already.
void set_tensorrt(const char* path);

// Collects the errors that TensorRT reports, and prints nothing.
class ErrorLog final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override;

  // Returns the last error that was reported in this thread, and forgets it; "" if there is none.
  static std::string take();
};

class TensorRt {
 public:
  // Loads the library with the first call, and compares its version before it calls anything else: objects of another
  // version have other functions at the same places. Throws Error (LL_MISSING).
  static const TensorRt& get();

  static const char* flavour();  // "tensorrt" or "tensorrt_rtx", of the headers

  const std::string& path() const { return path_; }
  const std::string& version() const { return version_; }  // "MAJOR.MINOR.PATCH.BUILD"

  nvinfer1::IRuntime* new_runtime() const;  // null: the log says why

 private:
  using Create = void*(void* logger, int32_t version) noexcept;

  TensorRt(std::string path, std::string version, Create* create)
      : path_(std::move(path)), version_(std::move(version)), create_(create) {}
  static const TensorRt* load(std::string& problems);
  static const TensorRt* load_from(const std::string& path, std::string& problem);

  const std::string path_, version_;
  Create* const create_;
};

}  // namespace latentloop
