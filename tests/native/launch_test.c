/* The example of launch.h in C: the nearest of two codewords to each of three vectors. */
#include "nearest_codebook/cuda/launch.h"

#include <stdalign.h>
#include <stdio.h>

static int fail(const char* error) {
  fprintf(stderr, "%s\n", error);
  return 1;
}

int main(void) {
  const float z[3 * 2] = {0, 1, 9, 8, 4, 6}, codebook[2 * 2] = {0, 0, 8, 8};
  int64_t index[3] = {7, 7, 7};
  float distance[3] = {7, 7, 7}, prepared[3];
  alignas(16) static char workspace[1 << 16];
  struct latentloop_cuda_nearest_problem problem = {0};
  problem.vectors = 3;
  problem.dimensions = 2;
  problem.codewords = 2;
  problem.type = LATENTLOOP_CUDA_FLOAT32;
  int32_t device;
  int64_t prepared_bytes, workspace_bytes;
  if (latentloop_cuda_device(&device, &problem.multiprocessors) ||
      latentloop_cuda_nearest_sizes(&problem, &prepared_bytes, &workspace_bytes))
    return fail(latentloop_cuda_error());
  if (prepared_bytes != sizeof prepared || workspace_bytes > (int64_t)sizeof workspace) return fail("unexpected sizes");
  struct latentloop_cuda_nearest_memory memory = {0};
  memory.z = z;
  memory.codebook = codebook;
  memory.prepared = prepared;
  memory.workspace = workspace;
  memory.workspace_bytes = workspace_bytes;
  memory.index = index;
  memory.distance = distance;
  if (latentloop_cuda_nearest_prepare(&problem, codebook, prepared, 0) ||
      latentloop_cuda_nearest_codebook(&problem, &memory, 0))
    return fail(latentloop_cuda_error());
  for (int i = 0; i < 3; ++i) printf("%d %g\n", (int)index[i], distance[i]);
  return 0;
}
