/* LatentLoop's C interface: draws images from a bundle, a folder that `latentloop export` writes, on a CPU with ONNX
 * Runtime, or on a GPU with TensorRT engines, which `latentloop build-engines` adds to a bundle.
 *
 * Compiles as C99 and C++17. docs/embedding.md shows how to build and link a program. A complete one, without checks of
 * the statuses, draws the image of seed 7:
 *
 *     #include <latentloop/latentloop.h>
 *     #include <stdlib.h>
 *
 *     int main(void) {
 *       ll_bundle *bundle;
 *       ll_sampler *sampler;
 *       int32_t height, width, channels;
 *       ll_bundle_open("runtime/data/planets", &bundle);
 *       ll_sampler_create(bundle, NULL, &sampler);
 *       ll_bundle_image(bundle, &height, &width, &channels);
 *       size_t bytes = (size_t)height * width * channels;
 *       uint8_t *image = malloc(bytes);
 *       ll_sample_params params = ll_default_sample_params();
 *       params.seed = 7;
 *       ll_sample(sampler, &params, image, bytes, NULL, NULL);
 *       ll_sampler_destroy(sampler);
 *       ll_bundle_close(bundle);
 *     }
 *
 * Threads. Any number of threads may use a bundle, and each its own samplers; samplers made from one bundle share its
 * weights. Only one thread at a time may use a sampler: a call on a sampler that is running returns LL_BUSY and has no
 * other effect. ll_cancel and ll_sampler_device may be called at any time until ll_sampler_destroy. That may be called
 * in the progress function, and by another thread once the run has begun: the run is cancelled, and the sampler freed
 * when it has ended. All runs have to end before the process does.
 * A thread that runs a sampler needs 256 KiB of stack. After a fork the child process must not use bundles and samplers
 * of its parent, and must end with exec or _exit: ONNX Runtime's threads do not exist there.
 *
 * Functions of the program that the library calls (progress, log) must return: without exceptions, longjmp, or an end
 * of the thread.
 *
 * GPUs. A library that was built with TensorRT loads it, and NVIDIA's driver, with the first sampler on a GPU. A
 * sampler works in the CUDA context that is current when it is created, if that is one of its GPU, and that context has
 * to outlive it; otherwise in the GPU's primary context, as CUDA's runtime does. Functions restore the thread's current
 * context before they return, and while they call functions of the program.
 * Images and codes ("GPU memory" below) can be in memory of the sampler's GPU and context, which is recognised by its
 * address; they are read and written in the order of the stream of ll_sampler_set_stream. All other arrays are in
 * memory of the host.
 *
 * Files. While a bundle or a sampler is in use, a file of the bundle may be replaced or deleted, but not changed in
 * place: its pages are in memory.
 *
 * Memory. Codes and images are written to the caller's memory, without padding between elements. The library copies
 * everything that it keeps, and allocates memory for a batch, but not for `count` samples. Texts that it returns
 * pointers to belong to it, and live as long as the bundle or the sampler that they are from.
 *
 * Errors. Functions return a status. ll_last_error() describes the last failure in this thread. The library prints
 * nothing, does not end the process and throws no exceptions. Texts are UTF-8.
 *
 * Versions. Later releases append fields to the structs that begin with `size`, and fields that an older library does
 * not know must then be 0. Other structs never change.
 */
#ifndef LATENTLOOP_LATENTLOOP_H
#define LATENTLOOP_LATENTLOOP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(LATENTLOOP_BUILDING) && defined(__GNUC__)
#define LL_API __attribute__((visibility("default")))
#else
#define LL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ll_status {
  LL_OK = 0,
  LL_INVALID_ARGUMENT = 1, /* an argument is null, out of range, or does not fit the bundle */
  LL_BAD_BUNDLE = 2,       /* the bundle is corrupt, incomplete, tampered with, or of another version */
  LL_MISSING = 3,          /* a library (ONNX Runtime, TensorRT, NVIDIA's driver), a GPU, or engines for it are missing,
                              or of a version that does not fit */
  LL_DEVICE = 4,           /* this library cannot use the device, or the device has failed */
  LL_OUT_OF_MEMORY = 5,
  LL_BUSY = 6,      /* the sampler is running */
  LL_CANCELLED = 7, /* by ll_cancel, by the progress callback or by ll_sampler_destroy */
  LL_INTERNAL = 8   /* a fault of this library: please report it */
} ll_status;

typedef struct ll_bundle ll_bundle;
typedef struct ll_sampler ll_sampler;

/* ---- The library ---- */

/* The version of the library, such as "0.1.0". */
LL_API const char* ll_version(void);

/* The text of this thread's last failure, "" before the first. Valid until the next call in this thread that fails. */
LL_API const char* ll_last_error(void);

/* The word for a status, such as "invalid argument"; "unknown" for other numbers. */
LL_API const char* ll_status_name(ll_status status);

enum { LL_LOG_INFO = 0, LL_LOG_WARNING = 1 };

/* Sets the function that receives messages of the whole process, for example that the library of native operators is
 * missing. NULL, the default: no messages. It is called by the threads that call the library, several at once, and may
 * call the library itself. Another thread can still be in the previous function when this one returns. */
LL_API void ll_set_log(void (*log)(int level, const char* text, void* user), void* user);

/* Sets ONNX Runtime's library, version 1.20 or newer: its file, or the folder that contains it. NULL or "", the
 * default: the file or folder in the environment variable LATENTLOOP_ONNXRUNTIME, else libonnxruntime.so.1 or
 * libonnxruntime.so in the folder of liblatentloop.so or as the loader finds them. It is loaded with the first sampler
 * on a CPU, and for the whole process. LL_INVALID_ARGUMENT: it is loaded already. */
LL_API ll_status ll_set_onnxruntime(const char* path);

/* Sets TensorRT's library, of the flavour and the version that this library was built for: its file, or the folder that
 * contains it. NULL or "", the default: the file or folder in the environment variable LATENTLOOP_TENSORRT, else
 * libnvinfer.so.MAJOR (TensorRT for RTX: libtensorrt_rtx.so.MAJOR) as the loader finds it. LL_INVALID_ARGUMENT: it is
 * loaded already. LL_DEVICE: this library was built without TensorRT. */
LL_API ll_status ll_set_tensorrt(const char* path);

/* ---- Bundles ---- */

/* A level's grid of codes: integers from 0 to codebook_size - 1. Without a prior (has_prior is 0) it can be encoded and
 * decoded, but not drawn. */
typedef struct ll_level {
  const char* name;
  int32_t height, width, codebook_size, has_prior;
} ll_level;

/* Opens a bundle, and verifies its manifest and the size and SHA-256 of every file. `*out` is NULL after a failure.
 * LL_BAD_BUNDLE: the text names the file and the field. */
LL_API ll_status ll_bundle_open(const char* directory, ll_bundle** out);

/* Frees the handle, or does nothing for NULL. Samplers made from the bundle can still be used. */
LL_API void ll_bundle_close(ll_bundle* bundle);

/* The size of an image. 1 channel is grey, 3 are RGB (sRGB values 0 ... 255). Pointers may be NULL. */
LL_API ll_status ll_bundle_image(const ll_bundle* bundle, int32_t* height, int32_t* width, int32_t* channels);

/* The number of levels; 0 for NULL. Level 0 is the top, the coarsest, and levels are drawn in this order. */
LL_API int32_t ll_bundle_levels(const ll_bundle* bundle);
LL_API ll_status ll_bundle_level(const ll_bundle* bundle, int32_t index, ll_level* out);

/* The number of classes; 0 for NULL, and if samples have no labels. A label is the index of a class. */
LL_API int32_t ll_bundle_classes(const ll_bundle* bundle);
LL_API const char* ll_bundle_class_name(const ll_bundle* bundle, int32_t index); /* NULL: no such class */

/* The number and names of the precisions of the priors' weights: "float32", and perhaps "int8". */
LL_API int32_t ll_bundle_precisions(const ll_bundle* bundle);
LL_API const char* ll_bundle_precision(const ll_bundle* bundle, int32_t index); /* NULL: no such precision */

/* Whether ll_classify and ll_sample_best can be used: 1 or 0. */
LL_API int32_t ll_bundle_has_classifier(const ll_bundle* bundle);

/* ---- Samplers ---- */

typedef struct ll_sampler_params {
  uint32_t size;   /* sizeof(ll_sampler_params) */
  int32_t threads; /* that compute at once, at most 1024. 0: all processors that this process may use */
  /* "cpu"; "tensorrt" for GPU 0, "tensorrt:1" for GPU 1. NULL or "auto": GPU 0 if there are engines for it and all else
   * that they need (the log says what is missing), otherwise the CPU. */
  const char* device;
  const char* precision; /* on a CPU one of the bundle's, on a GPU one that engines were built with. NULL: "float32" */
} ll_sampler_params;

/* Inline, because the size of the struct is that of the program's header, not of the library's. */
static inline ll_sampler_params ll_default_sampler_params(void) {
  ll_sampler_params params;
  memset(&params, 0, sizeof params);
  params.size = (uint32_t)sizeof params;
  return params;
}

/* `params` NULL: the defaults. `*out` is NULL after a failure. */
LL_API ll_status ll_sampler_create(ll_bundle* bundle, const ll_sampler_params* params, ll_sampler** out);

/* Cancels what is running, and frees the handle; does nothing for NULL. */
LL_API void ll_sampler_destroy(ll_sampler* sampler);

/* The device that runs the graphs: "cpu", "tensorrt:0". "" for NULL. */
LL_API const char* ll_sampler_device(const ll_sampler* sampler);

/* Sets the CUstream or cudaStream_t in whose order later calls read and write GPU memory: after the work that the
 * stream has then, and before what it gets later. NULL, the default: the legacy default stream, also in a program that
 * is compiled with per-thread default streams, whose handle is cudaStreamPerThread. A stream has to belong to the
 * sampler's context, and to live until another one is set or the sampler is destroyed. LL_INVALID_ARGUMENT: it does not
 * belong to it, or the sampler is on a CPU. It must not be captured during calls. */
LL_API ll_status ll_sampler_set_stream(ll_sampler* sampler, void* stream);

/* ---- Sampling ---- */

/* One row of a level is finished in the current batch. The structs of later releases are larger. */
typedef struct ll_progress {
  uint32_t size;
  int32_t level;     /* index of the level */
  int32_t row, rows; /* finished rows, from 1, of the level's rows */
  int64_t image;     /* finished images of the run: the current batch's are those after them */
  int64_t images;    /* images of the run; ll_sample_best counts candidates */
} ll_progress;

typedef struct ll_sample_params {
  uint32_t size;         /* sizeof(ll_sample_params) */
  int64_t count;         /* images, from 1 */
  uint64_t seed;         /* `seeds` NULL: the samples' seeds are seed, seed + 1, ... */
  const uint64_t* seeds; /* [count] or NULL */
  const int64_t* labels; /* [count] or NULL: sample i has class i modulo the number of classes */
  /* Settings, by level: [levels], or NULL for the default. A code must pass all filters. */
  const float* temperature; /* over 0, at most 1e20. Default: 1 */
  const float* top_p;       /* over 0, at most 1: the most probable codes with this share. Default: 1, all codes */
  const float* min_p;       /* 0 to 1: the share of the highest probability that a code must have. Default: 0, none */
  const int64_t* top_k;     /* from 1: this many most probable codes. Default: all codes */
  /* Codes to keep: [levels] of [count, height, width], each also GPU memory. -1: draw the code; NULL, or NULL for a
   * level: draw all. Kept codes come first in raster order. With classes and kept codes, labels are required. */
  const int64_t* const* given;
  /* Samples drawn at once, at most 4096, on a GPU at most as many as engines were built for. 0: count, at most 16. The
   * last batch is filled up, so that the result of a seed does not depend on count; for another batch size sums are
   * rounded differently, and codes can differ. On a GPU the first run of a batch size captures graphs, and only the
   * last one's are kept: pass the same in all calls. */
  int64_t batch;
  /* Called after every row, or NULL. The run is cancelled if the result is not 0. It must not use the sampler, except
   * for ll_cancel and ll_sampler_destroy. */
  int (*progress)(const ll_progress* progress, void* user);
  void* user;
} ll_sample_params;

static inline ll_sample_params ll_default_sample_params(void) {
  ll_sample_params params;
  memset(&params, 0, sizeof params);
  params.size = (uint32_t)sizeof params;
  params.count = 1;
  return params;
}

/* Draws `params->count` samples (`params` NULL: one, of seed 0), and returns when they are finished.
 *
 * images         [count, height, width, channels], `images_bytes` at least that size, also GPU memory; or NULL: nothing
 *                is decoded
 * codes          [levels] of [count, height, width], each also GPU memory; NULL, or NULL for some levels, if they are
 *                not wanted
 * finished       receives the number of finished samples, also after a failure; or NULL
 *
 * The first `finished` samples of codes and images are whole, also after LL_CANCELLED. The others are undefined. */
LL_API ll_status ll_sample(ll_sampler* sampler, const ll_sample_params* params, uint8_t* images, size_t images_bytes,
                           int64_t* const* codes, int64_t* finished);

/* Rejection sampling (VQ-VAE-2, section 3.3): for each label, draws `candidates` times as many samples as `params` asks
 * for, and keeps those with the highest probability of the label by the bundle's classifier.
 *
 * The candidates' seeds are params->seed, params->seed + 1, ...; `params->seeds` must be NULL. Labels take turns. The
 * kept samples of a label are in the order of their seeds. After LL_CANCELLED they are the best of the candidates so
 * far, `finished` of them, and `labels` says whose they are. The choice needs about 50 bytes per sample, and count is
 * at most 2^24.
 *
 * candidates     per sample, from 1
 * seeds          [count] or NULL: receives the seeds of the kept samples
 * labels         [count] or NULL: receives their labels
 * confidence     [count] or NULL: receives the probability of the label */
LL_API ll_status ll_sample_best(ll_sampler* sampler, const ll_sample_params* params, int64_t candidates,
                                uint8_t* images, size_t images_bytes, int64_t* const* codes, uint64_t* seeds,
                                int64_t* labels, float* confidence, int64_t* finished);

/* ---- Encoder, decoder, likelihood, classifier ----
 *
 * `count` can be 0; then arrays of samples may be NULL. After LL_CANCELLED or another failure, results are undefined.
 */

/* Encodes images [count, height, width, channels] to codes [levels] of [count, height, width], each also GPU memory; a
 * level that is not wanted can be NULL. If the images and the codes are GPU memory, the call does not wait for them.
 * (It waits while the engine is prepared for a new number of images per run; runs have 16, or what is left, and the
 * last two numbers are kept.) */
LL_API ll_status ll_encode(ll_sampler* sampler, const uint8_t* images, size_t images_bytes, int64_t count,
                           int64_t* const* codes);

/* Decodes codes of all levels to images [count, height, width, channels], each also GPU memory. If all of them are, the
 * call does not wait, as ll_encode. A code is 0 to codebook_size - 1, or -1 if it is not drawn: it has the mean
 * codeword of its level, so that images can be shown while they are drawn. A bundle that an earlier release exported
 * has no such codeword: -1 is refused. Codes in GPU memory must be in this range, which is not checked. */
LL_API ll_status ll_decode(ll_sampler* sampler, const int64_t* const* codes, int64_t count, uint8_t* images,
                           size_t images_bytes);

/* Computes the log-probability, in nats, of every code given the ones before it: `nats` [levels] of [count, height,
 * width]; a level that is not wanted can be NULL. Codes can be GPU memory. `labels` [count] is required if the bundle
 * has classes, else NULL. */
LL_API ll_status ll_log_likelihood(ll_sampler* sampler, const int64_t* const* codes, const int64_t* labels,
                                   int64_t count, double* const* nats);

/* Computes the probabilities [count, classes] of the classes by the bundle's classifier, which always runs on the CPU.
 * Images can be GPU memory. */
LL_API ll_status ll_classify(ll_sampler* sampler, const uint8_t* images, size_t images_bytes, int64_t count,
                             float* probabilities);

/* Cancels what the sampler runs: the call returns LL_CANCELLED soon, on a GPU after what is enqueued already: with a
 * progress function a row, else up to a batch. Any thread may call it at any time, also a signal
 * handler. It has no effect if nothing runs, nor on later calls. */
LL_API void ll_cancel(ll_sampler* sampler);

#ifdef __cplusplus
}
#endif

#endif
