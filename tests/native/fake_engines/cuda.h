// The functions of the CUDA driver that the scenarios call. There is no cuda.h without NVIDIA's toolkit.
#ifndef LATENTLOOP_TESTS_FAKE_ENGINES_CUDA_H_
#define LATENTLOOP_TESTS_FAKE_ENGINES_CUDA_H_

#include <cstddef>
#include <cstdint>

extern "C" {

int cuInit(unsigned flags) noexcept;
int cuDevicePrimaryCtxRetain(void** context, int device) noexcept;
int cuDevicePrimaryCtxRelease_v2(int device) noexcept;
int cuCtxCreate_v2(void** context, unsigned flags, int device) noexcept;
int cuCtxDestroy_v2(void* context) noexcept;
int cuCtxPushCurrent_v2(void* context) noexcept;
int cuCtxPopCurrent_v2(void** context) noexcept;
int cuCtxGetDevice(int* device) noexcept;
int cuCtxSynchronize() noexcept;
int cuDeviceGetCount(int* count) noexcept;
int cuDeviceGetAttribute(int* value, int attribute, int device) noexcept;
int cuStreamCreate(void** stream, unsigned flags) noexcept;
int cuStreamDestroy_v2(void* stream) noexcept;
int cuStreamGetCtx(void* stream, void** context) noexcept;
int cuStreamWaitEvent(void* stream, void* event, unsigned flags) noexcept;
int cuStreamSynchronize(void* stream) noexcept;
int cuEventCreate(void** event, unsigned flags) noexcept;
int cuEventRecord(void* event, void* stream) noexcept;
int cuEventSynchronize(void* event) noexcept;
int cuEventDestroy_v2(void* event) noexcept;
int cuMemAlloc_v2(uint64_t* pointer, size_t size) noexcept;
int cuMemFree_v2(uint64_t pointer) noexcept;
int cuMemAllocAsync(uint64_t* pointer, size_t size, void* stream) noexcept;
int cuMemFreeAsync(uint64_t pointer, void* stream) noexcept;
int cuMemHostAlloc(void** pointer, size_t size, unsigned flags) noexcept;
int cuMemFreeHost(void* pointer) noexcept;
int cuMemsetD8Async(uint64_t pointer, unsigned char value, size_t size, void* stream) noexcept;
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t size, void* stream) noexcept;
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t size, void* stream) noexcept;
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void* stream) noexcept;
int cuPointerGetAttribute(void* out, int attribute, uint64_t pointer) noexcept;
int cuStreamBeginCapture_v2(void* stream, int mode) noexcept;
int cuStreamEndCapture(void* stream, void** graph) noexcept;
int cuGraphInstantiateWithFlags(void** executable, void* graph, uint64_t flags) noexcept;
int cuGraphDestroy(void* graph) noexcept;
int cuGraphLaunch(void* executable, void* stream) noexcept;
int cuGraphExecDestroy(void* executable) noexcept;

}  // extern "C"

#endif  // LATENTLOOP_TESTS_FAKE_ENGINES_CUDA_H_
