// The CUDA kernels of the nearest codeword in the CPU simulation, behind one C function.
#include "launch.h"
#include "nearest_codebook/cuda/entries.cu"

// Runs a kernel by its name. `arguments` is a latentloop::nearest::Arguments with host pointers. The seed determines
// the order of blocks and threads. Returns 0, or 1 with a text in `error` if the kernel's behaviour is undefined in
// CUDA.
extern "C" int latentloop_grid_launch(const char* kernel, int64_t grid_x, int grid_y, int threads,
                                      const void* arguments, uint64_t seed, char* error, size_t error_size) {
  static const latentloop::grid::Kernels kernels{
      LATENTLOOP_NAMED(nearest_prepare_f32),       LATENTLOOP_NAMED(nearest_prepare_f16),
      LATENTLOOP_NAMED(nearest_prepare_bf16),      LATENTLOOP_NAMED(nearest_search_f32),
      LATENTLOOP_NAMED(nearest_search_f16),        LATENTLOOP_NAMED(nearest_search_bf16),
      LATENTLOOP_NAMED(nearest_search_tensor_f16), LATENTLOOP_NAMED(nearest_search_tensor_bf16),
      LATENTLOOP_NAMED(nearest_resolve_f32),       LATENTLOOP_NAMED(nearest_resolve_f16),
      LATENTLOOP_NAMED(nearest_resolve_bf16)};
  return latentloop::grid::launch(kernels, kernel, grid_x, grid_y, threads, arguments, seed, error, error_size);
}
