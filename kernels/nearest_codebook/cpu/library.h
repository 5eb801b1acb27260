/* The nearest codeword of each vector on the CPU: a C interface. ../arguments.h defines the result.
 *
 * Several threads may search a codebook at once; create and free are not thread-safe for one codebook. All pointers
 * must be aligned to their type. The codewords are copied.
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
  LATENTLOOP_INVALID_ARGUMENT = 1, /* a null pointer, or a size out of range; nothing was written */
  LATENTLOOP_OUT_OF_MEMORY = 2     /* outputs are undefined */
};

typedef struct latentloop_codebook latentloop_codebook;

/* Packs codewords [count, dimensions] into a new codebook: count 1 to 65536, dimensions 1 to 512. Returns a status. */
LATENTLOOP_EXPORT int32_t latentloop_codebook_create(const float* codewords, int64_t count, int64_t dimensions,
                                                     latentloop_codebook** codebook);

/* Frees the codebook. Null is allowed. */
LATENTLOOP_EXPORT void latentloop_codebook_free(latentloop_codebook* codebook);

/* Finds the nearest codeword of each vector, on up to `threads` threads (0: one per processor).
 * z is [vectors, dimensions] if positions is 0, otherwise [vectors / positions, dimensions, positions]; `positions`
 * must divide `vectors`. Writes index [vectors], -1 for a vector without a nearest codeword; distance [vectors],
 * squared Euclidean, or null; and codeword, shaped as z, or null. Returns the number of vectors without a nearest
 * codeword, or minus a status. */
LATENTLOOP_EXPORT int64_t latentloop_nearest_codebook(const latentloop_codebook* codebook, const float* z,
                                                      int64_t vectors, int64_t positions, int32_t threads,
                                                      int64_t* index, float* distance, float* codeword);

#ifdef __cplusplus
}
#endif
