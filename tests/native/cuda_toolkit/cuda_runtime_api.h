// The functions of CUDA's runtime that programs on the simulated GPU call. They call its driver as NVIDIA's runtime
// does: in the primary context of GPU 0, which stays current in the thread.
//
// At the end of the process, a violation or something that is not freed ends it with the status 86, and the text.
#ifndef LATENTLOOP_TESTS_CUDA_TOOLKIT_CUDA_RUNTIME_API_H_
#define LATENTLOOP_TESTS_CUDA_TOOLKIT_CUDA_RUNTIME_API_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" {

const char* fake_cuda_violation() noexcept;
int fake_cuda_finish() noexcept;
int fake_cuda_live(const char* kind) noexcept;
int cuInit(unsigned flags) noexcept;
int cuCtxGetCurrent(void** context) noexcept;
int cuCtxPushCurrent_v2(void* context) noexcept;
int cuDevicePrimaryCtxRetain(void** context, int device) noexcept;
int cuStreamCreate(void** stream, unsigned flags) noexcept;
int cuStreamDestroy_v2(void* stream) noexcept;
int cuStreamSynchronize(void* stream) noexcept;
int cuMemAlloc_v2(uint64_t* pointer, size_t size) noexcept;
int cuMemFree_v2(uint64_t pointer) noexcept;
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, void* stream) noexcept;
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) noexcept;

}  // extern "C"

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorNoDevice = 100 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum : unsigned { cudaStreamNonBlocking = 1 };

namespace fake_cuda_runtime {

inline int use_primary_context() {
  void* context = nullptr;
  if (const int status = cuInit(0)) return status;
  if (const int status = cuCtxGetCurrent(&context)) return status;
  if (context != nullptr) return 0;
  if (const int status = cuDevicePrimaryCtxRetain(&context, 0)) return status;
  return cuCtxPushCurrent_v2(context);
}

template <typename Function>
cudaError_t in_primary_context(Function function) {
  const int status = use_primary_context();
  return static_cast<cudaError_t>(status == 0 ? function() : status);
}

struct CheckedAtTheEnd {
  ~CheckedAtTheEnd() {
    const int status = fake_cuda_finish();
    if (status != 0 || *fake_cuda_violation() != '\0') fail(fake_cuda_violation());
    for (const char* kind : {"streams", "events", "graphs", "executables", "device", "host", "internal"})
      if (fake_cuda_live(kind) != 0) fail(kind);
  }

  static void fail(const char* text) {
    std::fprintf(stderr, "simulated GPU: %s\n", text);
    std::_Exit(86);
  }
};

inline const CheckedAtTheEnd checked_at_the_end;

}  // namespace fake_cuda_runtime

inline const char* cudaGetErrorString(cudaError_t status) {
  thread_local std::string text;
  text = status == cudaErrorNoDevice ? "no CUDA-capable device is detected"
                                     : "CUDA error " + std::to_string(static_cast<int>(status));
  return text.c_str();
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return fake_cuda_runtime::in_primary_context([=] { return cuStreamCreate(reinterpret_cast<void**>(stream), flags); });
}

inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return fake_cuda_runtime::in_primary_context([=] { return cuStreamDestroy_v2(stream); });
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return fake_cuda_runtime::in_primary_context([=] { return cuStreamSynchronize(stream); });
}

inline cudaError_t cudaMalloc(void** pointer, size_t size) {
  return fake_cuda_runtime::in_primary_context([=] {
    uint64_t address = 0;
    const int status = cuMemAlloc_v2(&address, size);
    *pointer = reinterpret_cast<void*>(address);
    return status;
  });
}

inline cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  return fake_cuda_runtime::in_primary_context([=] { return cuMemFree_v2(reinterpret_cast<uint64_t>(pointer)); });
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t stream) {
  return fake_cuda_runtime::in_primary_context([=] {
    return kind == cudaMemcpyHostToDevice ? cuMemcpyHtoDAsync_v2(reinterpret_cast<uint64_t>(to), from, size, stream)
                                          : cuMemcpyDtoHAsync_v2(to, reinterpret_cast<uint64_t>(from), size, stream);
  });
}

#endif  // LATENTLOOP_TESTS_CUDA_TOOLKIT_CUDA_RUNTIME_API_H_
