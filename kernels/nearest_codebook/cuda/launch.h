// The nearest codeword of each vector on an NVIDIA GPU, for any language that calls C: liblatentloop_cuda.so.
//
// What is computed, with ties, NaN and the error bound, is in arguments.h. An index does not depend on N, the layout,
// the GPU, or `exact`.
//
// Threads: every function may be called from any thread at any time; the text of an error is its thread's own.
// Memory: all of it is the caller's, and on the device that is current. Nothing is allocated, and no call waits for the
// GPU: work is queued on the stream, and may be captured into a graph. Memory must live until the stream has passed it.
// Needs: compute capability 8.0 or later.
//
//   struct latentloop_cuda_nearest_problem problem = {0};
//   problem.vectors = 4096;
//   problem.dimensions = 64;
//   problem.codewords = 512;
//   problem.type = LATENTLOOP_CUDA_FLOAT32;
//   int32_t device;
//   int64_t prepared_bytes, workspace_bytes;
//   if (latentloop_cuda_device(&device, &problem.multiprocessors) ||
//       latentloop_cuda_nearest_sizes(&problem, &prepared_bytes, &workspace_bytes))
//     return fail(latentloop_cuda_error());
//   ... cudaMalloc of z, codebook, index, prepared and workspace ...
//   struct latentloop_cuda_nearest_memory memory = {0};
//   memory.z = z; memory.codebook = codebook; memory.index = index;
//   memory.prepared = prepared; memory.workspace = workspace; memory.workspace_bytes = workspace_bytes;
//   if (latentloop_cuda_nearest_prepare(&problem, codebook, prepared, stream) ||  // once for a codebook
//       latentloop_cuda_nearest_codebook(&problem, &memory, stream))              // as often as there are vectors
//     return fail(latentloop_cuda_error());
#ifndef LATENTLOOP_NEAREST_CODEBOOK_LAUNCH_H
#define LATENTLOOP_NEAREST_CODEBOOK_LAUNCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATENTLOOP_CUDA_API __attribute__((visibility("default")))

enum latentloop_cuda_status {
  LATENTLOOP_CUDA_OK = 0,
  LATENTLOOP_CUDA_INVALID_ARGUMENT = 1,  // an argument is out of range: nothing was queued
  LATENTLOOP_CUDA_FAILED = 2             // CUDA refused; what was queued before may run
};

enum latentloop_cuda_type { LATENTLOOP_CUDA_FLOAT32 = 0, LATENTLOOP_CUDA_FLOAT16 = 1, LATENTLOOP_CUDA_BFLOAT16 = 2 };

struct latentloop_cuda_nearest_problem {
  int64_t vectors;          // N, 0 to 2^31
  int64_t positions;        // 0: z is [N, D]; otherwise z is [N / positions, D, positions], an encoder's NCHW
  int32_t dimensions;       // D, 1 to 512
  int32_t codewords;        // K, 1 to 65536
  int32_t type;             // an enum latentloop_cuda_type, of z, codebook and codeword
  int32_t exact;            // 1: 16-bit types search without tensor cores: the same results, more slowly; else 0
  int32_t multiprocessors;  // to keep busy: those of latentloop_cuda_device. Any number of at least 1 is right
};

struct latentloop_cuda_nearest_memory {
  const void* z;            // [N, D] or [N / positions, D, positions]
  const void* codebook;     // [K, D]
  const void* prepared;     // what latentloop_cuda_nearest_prepare made of that codebook
  void* workspace;          // overwritten; calls whose work may overlap need one each; aligned to 16 bytes
  int64_t workspace_bytes;  // at least what latentloop_cuda_nearest_sizes says
  int64_t* index;           // [N], out
  float* distance;          // [N], out, squared Euclidean; or null
  void* codeword;           // as z, out: each vector's nearest codeword; or null
  int32_t* invalid;         // [1], vectors without a nearest codeword are added to it; or null
};

// The current device, and its multiprocessors. OK, INVALID_ARGUMENT for null, or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_device(int32_t* device, int32_t* multiprocessors);

// The bytes of `prepared`, and those of `workspace`, which also serve fewer vectors. Needs no device. OK, or
// INVALID_ARGUMENT.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_sizes(const struct latentloop_cuda_nearest_problem* problem,
                                                      int64_t* prepared_bytes, int64_t* workspace_bytes);

// Queues what a codebook [K, D] needs once, whatever N and the layout (they must be in range all the same). `prepared`
// is aligned to 4 bytes; `stream` is a cudaStream_t. OK, INVALID_ARGUMENT or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_prepare(const struct latentloop_cuda_nearest_problem* problem,
                                                        const void* codebook, void* prepared, void* stream);

// Queues the search, after latentloop_cuda_nearest_prepare. `stream` is a cudaStream_t. OK, INVALID_ARGUMENT or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_codebook(const struct latentloop_cuda_nearest_problem* problem,
                                                         const struct latentloop_cuda_nearest_memory* memory,
                                                         void* stream);

// What the last call of this thread that failed had to say. Valid until this thread's next call that fails.
LATENTLOOP_CUDA_API const char* latentloop_cuda_error(void);

#ifdef __cplusplus
}
#endif

#endif
