/* The nearest codeword of each vector on the processor, for C and every language that calls C.
 *
 * A codebook may be searched by several threads at once; making and freeing it is one thread's. All pointers must be
 * aligned to their type. Nothing is kept of `codewords`.
 *
 *   latentloop_codebook* codebook;
 *   if (latentloop_codebook_create(codewords, 512, 64, &codebook) != LATENTLOOP_OK) ...
 *   int64_t index[1000];
 *   if (latentloop_nearest_codebook(codebook, z, 1000, 0, 2, index, NULL, NULL) < 0) ...
 *   latentloop_codebook_free(codebook);
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATENTLOOP_EXPORT __attribute__((visibility("default")))

enum {
  LATENTLOOP_OK = 0,
  LATENTLOOP_INVALID_ARGUMENT = 1, /* a null pointer, or a size outside its range; nothing was done */
  LATENTLOOP_OUT_OF_MEMORY = 2     /* outputs are undefined */
};

typedef struct latentloop_codebook latentloop_codebook;

/* Packs codewords [count, dimensions]: 1 to 65536 of 1 to 512 dimensions. Returns a status. */
LATENTLOOP_EXPORT int32_t latentloop_codebook_create(const float* codewords, int64_t count, int64_t dimensions,
                                                     latentloop_codebook** made);

/* Null is allowed. */
LATENTLOOP_EXPORT void latentloop_codebook_free(latentloop_codebook* codebook);

/* The nearest codeword of each of `vectors` vectors: z [vectors, dimensions], or with positions > 0, which divides
 * `vectors`, z [vectors / positions, dimensions, positions]. On up to `threads` threads; 0: one per processor.
 * index [vectors], -1 for a vector that has none; distance [vectors], the squared Euclidean one, and codeword, shaped
 * as z, may be null. Returns how many vectors have none, or minus a status. */
LATENTLOOP_EXPORT int64_t latentloop_nearest_codebook(const latentloop_codebook* codebook, const float* z,
                                                      int64_t vectors, int64_t positions, int32_t threads,
                                                      int64_t* index, float* distance, float* codeword);

#ifdef __cplusplus
}
#endif
