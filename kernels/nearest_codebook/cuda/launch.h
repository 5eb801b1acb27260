// The nearest codeword of each vector on an NVIDIA GPU: the C interface of liblatentloop_cuda.so.
//
// arguments.h defines the result, including ties, NaN and the error bound. An index does not depend on N, the layout,
// the GPU or `exact`.
//
// Threads: all functions are thread-safe. The error text is thread-local.
// Memory: the caller allocates everything, on the current device. The functions allocate nothing and do not wait for
// the GPU; they enqueue work on the stream, which may be captured into a CUDA graph. Memory must stay allocated until
// that work has completed. Requires compute capability 8.0 or later.
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
//   if (latentloop_cuda_nearest_prepare(&problem, codebook, prepared, stream) ||  // once per codebook
//       latentloop_cuda_nearest_codebook(&problem, &memory, stream))              // once per batch of vectors
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
  LATENTLOOP_CUDA_INVALID_ARGUMENT = 1,  // an argument is out of range; nothing was enqueued
  LATENTLOOP_CUDA_FAILED = 2             // a CUDA call failed; work that was already enqueued may run
};

enum latentloop_cuda_type { LATENTLOOP_CUDA_FLOAT32 = 0, LATENTLOOP_CUDA_FLOAT16 = 1, LATENTLOOP_CUDA_BFLOAT16 = 2 };

struct latentloop_cuda_nearest_problem {
  int64_t vectors;     // N, 0 to 2^31
  int64_t positions;   // 0: z is [N, D]; otherwise z is [N / positions, D, positions], an encoder's NCHW output
  int32_t dimensions;  // D, 1 to 512
  int32_t codewords;   // K, 1 to 65536
  int32_t type;        // an enum latentloop_cuda_type: type of z, codebook and codeword
  int32_t exact;       // 1: search without tensor cores for 16-bit types too, with the same results, but slower; else 0
  int32_t multiprocessors;  // from latentloop_cuda_device. Results are correct for any number of at least 1
};

struct latentloop_cuda_nearest_memory {
  const void* z;            // [N, D] or [N / positions, D, positions]
  const void* codebook;     // [K, D]
  const void* prepared;     // output of latentloop_cuda_nearest_prepare for that codebook
  void* workspace;          // scratch memory, aligned to 16 bytes; concurrent calls need one each
  int64_t workspace_bytes;  // at least that of latentloop_cuda_nearest_sizes
  int64_t* index;           // [N], out
  float* distance;          // [N], out, squared Euclidean; or null
  void* codeword;           // shaped as z, out: each vector's nearest codeword; or null
  int32_t* invalid;         // [1], incremented per vector without a nearest codeword; or null
};

// Returns the current device and its number of multiprocessors. Status: OK, INVALID_ARGUMENT for null, or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_device(int32_t* device, int32_t* multiprocessors);

// Returns the sizes of `prepared` and `workspace` in bytes; the workspace is also large enough for fewer vectors. Needs
// no device. Status: OK or INVALID_ARGUMENT.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_sizes(const struct latentloop_cuda_nearest_problem* problem,
                                                      int64_t* prepared_bytes, int64_t* workspace_bytes);

// Enqueues the preparation of a codebook [K, D]. It does not depend on N and the layout, which must be in range anyway.
// `prepared` is aligned to 4 bytes; `stream` is a cudaStream_t. Status: OK, INVALID_ARGUMENT or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_prepare(const struct latentloop_cuda_nearest_problem* problem,
                                                        const void* codebook, void* prepared, void* stream);

// Enqueues the search, after latentloop_cuda_nearest_prepare. `stream` is a cudaStream_t. Status: OK, INVALID_ARGUMENT
// or FAILED.
LATENTLOOP_CUDA_API int latentloop_cuda_nearest_codebook(const struct latentloop_cuda_nearest_problem* problem,
                                                         const struct latentloop_cuda_nearest_memory* memory,
                                                         void* stream);

// Returns the error text of this thread's last failed call. Valid until this thread's next failed call.
LATENTLOOP_CUDA_API const char* latentloop_cuda_error(void);

#ifdef __cplusplus
}
#endif

#endif
