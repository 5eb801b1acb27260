#include "call.h"

#include "../bundles/views.h"

namespace latentloop {

int element_type(Type type) {
  return type == Type::float32 ? ort::kFloat : type == Type::int64 ? ort::kInt64 : ort::kUint8;
}

Value tensor(const void* memory, Type type, const Shape& shape) {
  OnnxRuntime& runtime = OnnxRuntime::get();
  const auto bytes = static_cast<size_t>(elements(shape) * element_size(type));
  OrtValue* value = nullptr;
  runtime.call<ort::CreateTensorWithDataAsOrtValue>(runtime.memory(), const_cast<void*>(memory), bytes, shape.data(),
                                                    shape.size(), element_type(type), &value);
  return Value{value};
}

RunOptions::RunOptions() : runtime_(OnnxRuntime::get()) { runtime_.call<ort::CreateRunOptions>(&options_); }

RunOptions::~RunOptions() { runtime_.release<ort::ReleaseRunOptions>(options_); }

// ONNX Runtime only sets a flag. It allocates a status only if that fails, which a null handle alone would do.
void RunOptions::stop() noexcept { runtime_.release<ort::RunOptionsSetTerminate>(options_); }

void RunOptions::resume() { runtime_.call<ort::RunOptionsUnsetTerminate>(options_); }

Call::Call(std::shared_ptr<const Session> session) : runtime_(OnnxRuntime::get()), session_(std::move(session)) {
  OrtIoBinding* binding = nullptr;
  runtime_.call<ort::CreateIoBinding>(session_->get(), &binding);
  binding_.reset(binding);
}

void Call::bind_input(const std::string& name, const OrtValue* value) {
  runtime_.call<ort::BindInput>(binding_.get(), name.c_str(), value);
}

void Call::bind_output(const std::string& name, const OrtValue* value) {
  runtime_.call<ort::BindOutput>(binding_.get(), name.c_str(), value);
}

void Call::run(const RunOptions& options) const {
  runtime_.call<ort::RunWithBinding>(session_->get(), options.get(), static_cast<const OrtIoBinding*>(binding_.get()));
}

}  // namespace latentloop
