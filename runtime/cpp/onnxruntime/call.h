// A graph bound to memory, which it reads and writes in place.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "session.h"

namespace latentloop {

struct ValueDeleter {
  void operator()(OrtValue* value) const { OnnxRuntime::get().release<ort::ReleaseValue>(value); }
};

// A tensor over memory of its owner's.
using Value = std::unique_ptr<OrtValue, ValueDeleter>;

Value tensor(const void* memory, Type type, const Shape& shape);

int element_type(Type type);  // ONNX Runtime's number

// Options of runs, with which all of them can be stopped. Any thread may stop them, also in a signal handler.
class RunOptions {
 public:
  RunOptions();
  ~RunOptions();
  RunOptions(const RunOptions&) = delete;
  RunOptions& operator=(const RunOptions&) = delete;

  const OrtRunOptions* get() const { return options_; }
  void stop() noexcept;
  void resume();

 private:
  const OnnxRuntime& runtime_;
  OrtRunOptions* options_{};
};

class Call {
 public:
  explicit Call(std::shared_ptr<const Session> session);

  // The memory has to outlive the call. Throws std::runtime_error.
  void bind_input(const std::string& name, const OrtValue* value);
  void bind_output(const std::string& name, const OrtValue* value);

  void run(const RunOptions& options) const;

 private:
  struct Deleter {
    void operator()(OrtIoBinding* binding) const { OnnxRuntime::get().release<ort::ReleaseIoBinding>(binding); }
  };

  const OnnxRuntime& runtime_;
  std::shared_ptr<const Session> session_;
  std::unique_ptr<OrtIoBinding, Deleter> binding_;
};

}  // namespace latentloop
