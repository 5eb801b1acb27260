// ll_version, the last error, the log, and the places of ONNX Runtime and TensorRT.
#include <string>

#include "../io/log.h"
#include "devices.h"
#include "guard.h"

namespace latentloop {

namespace {

thread_local std::string last_error;
thread_local const char* last_error_text = "";

}  // namespace

void set_last_error(const char* text) noexcept {
  try {
    last_error = text;
    last_error_text = last_error.c_str();
  } catch (...) {
    last_error_text = "out of memory";
  }
}

}  // namespace latentloop

const char* ll_version() { return LATENTLOOP_VERSION; }

const char* ll_last_error() { return latentloop::last_error_text; }

const char* ll_status_name(ll_status status) {
  switch (status) {
    case LL_OK:
      return "ok";
    case LL_INVALID_ARGUMENT:
      return "invalid argument";
    case LL_BAD_BUNDLE:
      return "bad bundle";
    case LL_MISSING:
      return "missing";
    case LL_DEVICE:
      return "device not usable";
    case LL_OUT_OF_MEMORY:
      return "out of memory";
    case LL_BUSY:
      return "busy";
    case LL_CANCELLED:
      return "cancelled";
    case LL_INTERNAL:
      return "internal error";
  }
  return "unknown";
}

void ll_set_log(void (*log)(int, const char*, void*), void* user) { latentloop::set_log(log, user); }

ll_status ll_set_onnxruntime(const char* path) {
  return latentloop::guarded([=] { latentloop::set_onnxruntime(path); });
}

ll_status ll_set_tensorrt(const char* path) {
  return latentloop::guarded([=] { latentloop::set_engine_library(path); });
}
