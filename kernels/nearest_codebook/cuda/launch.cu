// Implementation of launch.h: checks of the arguments, the launch plan, and the kernel launches.
#include <cuda_runtime_api.h>
#include <stdarg.h>
#include <stdio.h>

#include "entries.cu"
#include "launch.h"
#include "plan.h"

namespace {

using namespace latentloop::nearest;

using Kernel = void (*)(Arguments);

struct Kernels {
  Kernel prepare, search, search_tensor, resolve;
  int bytes;  // per value
};

constexpr int kTypes{3};
constexpr Kernels kKernels[kTypes]{
    {nearest_prepare_f32, nearest_search_f32, nearest_search_f32, nearest_resolve_f32, 4},
    {nearest_prepare_f16, nearest_search_f16, nearest_search_tensor_f16, nearest_resolve_f16, 2},
    {nearest_prepare_bf16, nearest_search_bf16, nearest_search_tensor_bf16, nearest_resolve_bf16, 2}};

thread_local char error_text[256]{};

__attribute__((format(printf, 2, 3))) int fail(int status, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(error_text, sizeof error_text, format, values);
  va_end(values);
  return status;
}

// All checks return a status, and set the error text if it is not OK.
int check_range(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return LATENTLOOP_CUDA_OK;
  return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "%s is %lld, expected %lld to %lld", name,
              static_cast<long long>(value), static_cast<long long>(least), static_cast<long long>(most));
}

int check_aligned(const char* name, const void* pointer, uintptr_t bytes, bool optional = false) {
  if (pointer == nullptr && optional) return LATENTLOOP_CUDA_OK;
  if (pointer != nullptr && reinterpret_cast<uintptr_t>(pointer) % bytes == 0) return LATENTLOOP_CUDA_OK;
  return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "%s is %p, expected device memory that is aligned to %d bytes", name,
              pointer, static_cast<int>(bytes));
}

int check(const latentloop_cuda_nearest_problem* p) {
  if (p == nullptr) return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "problem is null");
  if (int status = check_range("vectors", p->vectors, 0, kMostVectors)) return status;
  if (int status = check_range("positions", p->positions, 0, kMostVectors)) return status;
  if (int status = check_range("dimensions", p->dimensions, 1, kMostDimensions)) return status;
  if (int status = check_range("codewords", p->codewords, 1, kMostCodewords)) return status;
  if (int status = check_range("type", p->type, 0, kTypes - 1)) return status;
  if (int status = check_range("exact", p->exact, 0, 1)) return status;
  if (int status = check_range("multiprocessors", p->multiprocessors, 1, INT32_MAX)) return status;
  if (p->positions == 0 || p->vectors % p->positions == 0) return LATENTLOOP_CUDA_OK;
  return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "vectors is %lld, expected a multiple of positions, %lld",
              static_cast<long long>(p->vectors), static_cast<long long>(p->positions));
}

int check(const latentloop_cuda_nearest_memory* m, int64_t workspace_bytes, int value_bytes) {
  const auto value = static_cast<uintptr_t>(value_bytes);
  if (int status = check_aligned("z", m->z, value)) return status;
  if (int status = check_aligned("codebook", m->codebook, value)) return status;
  if (int status = check_aligned("prepared", m->prepared, alignof(float))) return status;
  if (int status = check_aligned("workspace", m->workspace, alignof(Partial))) return status;
  if (int status = check_aligned("index", m->index, alignof(int64_t))) return status;
  if (int status = check_aligned("distance", m->distance, alignof(float), true)) return status;
  if (int status = check_aligned("codeword", m->codeword, value, true)) return status;
  if (int status = check_aligned("invalid", m->invalid, alignof(int32_t), true)) return status;
  if (m->workspace_bytes >= workspace_bytes) return LATENTLOOP_CUDA_OK;
  return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT,
              "workspace_bytes is %lld, expected at least %lld, from latentloop_cuda_nearest_sizes",
              static_cast<long long>(m->workspace_bytes), static_cast<long long>(workspace_bytes));
}

Plan make_plan(const latentloop_cuda_nearest_problem& p) { return plan(p.vectors, p.codewords, p.multiprocessors); }

// An upper bound of the plan's partials_bytes that never decreases as the number of vectors N grows. The plan's own
// value may decrease, because it splits the codebook if there are few vectors: on M multiprocessors and with B search
// blocks into at most 2 M / B + 1 splits, so that there are at most as many partial results as N plus the vectors of 2
// M tiles.
int64_t workspace_bound(const latentloop_cuda_nearest_problem& p) {
  const int64_t whole = p.vectors * parts(p.codewords, kTileCodewords);
  const int64_t split = p.vectors + 2 * int64_t{p.multiprocessors} * kTileVectors;
  return (whole < split ? whole : split) * static_cast<int64_t>(sizeof(Partial));
}

// The arguments that all kernels need. `prepared` is half_norms [K], followed by `largest`.
Arguments arguments(const latentloop_cuda_nearest_problem& p, const void* codebook, void* prepared) {
  Arguments a{};
  a.codebook = codebook;
  a.half_norms = static_cast<float*>(prepared);
  a.largest = a.half_norms + p.codewords;
  a.vectors = p.vectors;
  a.positions = p.positions;
  a.dimensions = p.dimensions;
  a.codewords = p.codewords;
  return a;
}

int check_cuda(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return LATENTLOOP_CUDA_OK;
  return fail(LATENTLOOP_CUDA_FAILED, "%s: CUDA error %d, %s", what, static_cast<int>(error),
              cudaGetErrorString(error));
}

int launch(const char* what, Kernel kernel, int64_t blocks, int32_t splits, Arguments a, cudaStream_t stream) {
  void* parameters[]{&a};
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(splits));
  return check_cuda(
      what, cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(kThreads), parameters, 0, stream));
}

}  // namespace

int latentloop_cuda_device(int32_t* device, int32_t* multiprocessors) {
  if (device == nullptr || multiprocessors == nullptr)
    return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "device or multiprocessors is null");
  if (int status = check_cuda("the current device", cudaGetDevice(device))) return status;
  return check_cuda("its multiprocessors",
                    cudaDeviceGetAttribute(multiprocessors, cudaDevAttrMultiProcessorCount, *device));
}

int latentloop_cuda_nearest_sizes(const latentloop_cuda_nearest_problem* problem, int64_t* prepared_bytes,
                                  int64_t* workspace_bytes) {
  if (int status = check(problem)) return status;
  if (prepared_bytes == nullptr || workspace_bytes == nullptr)
    return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "prepared_bytes or workspace_bytes is null");
  *prepared_bytes = (problem->codewords + int64_t{1}) * static_cast<int64_t>(sizeof(float));
  *workspace_bytes = workspace_bound(*problem);
  return LATENTLOOP_CUDA_OK;
}

int latentloop_cuda_nearest_prepare(const latentloop_cuda_nearest_problem* problem, const void* codebook,
                                    void* prepared, void* stream) {
  if (int status = check(problem)) return status;
  const Kernels& kernels = kKernels[problem->type];
  if (int status = check_aligned("codebook", codebook, static_cast<uintptr_t>(kernels.bytes))) return status;
  if (int status = check_aligned("prepared", prepared, alignof(float))) return status;
  const auto queue = static_cast<cudaStream_t>(stream);
  const Arguments a = arguments(*problem, codebook, prepared);
  if (int status = check_cuda("setting `largest` to 0", cudaMemsetAsync(a.largest, 0, sizeof(float), queue)))
    return status;
  return launch("preparing the codebook", kernels.prepare, make_plan(*problem).prepare_blocks, 1, a, queue);
}

int latentloop_cuda_nearest_codebook(const latentloop_cuda_nearest_problem* problem,
                                     const latentloop_cuda_nearest_memory* memory, void* stream) {
  if (int status = check(problem)) return status;
  if (memory == nullptr) return fail(LATENTLOOP_CUDA_INVALID_ARGUMENT, "memory is null");
  if (problem->vectors == 0) return LATENTLOOP_CUDA_OK;
  const Plan p = make_plan(*problem);
  const Kernels& kernels = kKernels[problem->type];
  if (int status = check(memory, p.partials_bytes, kernels.bytes)) return status;
  Arguments a = arguments(*problem, memory->codebook, const_cast<void*>(memory->prepared));  // the search only reads it
  a.z = memory->z;
  a.partials = static_cast<Partial*>(memory->workspace);
  a.index = memory->index;
  a.distance = memory->distance;
  a.codeword = memory->codeword;
  a.invalid = memory->invalid;
  a.splits = p.splits;
  a.split_codewords = p.split_codewords;
  const auto queue = static_cast<cudaStream_t>(stream);
  const Kernel search = problem->exact ? kernels.search : kernels.search_tensor;
  if (int status = launch("searching", search, p.search_blocks, p.splits, a, queue)) return status;
  return launch("resolving", kernels.resolve, p.resolve_blocks, 1, a, queue);
}

const char* latentloop_cuda_error(void) { return error_text; }
