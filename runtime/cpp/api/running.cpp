// The functions that run a sampler's graphs.
#include "../sampling/best.h"
#include "../sampling/codec.h"
#include "../sampling/likelihood.h"
#include "guard.h"
#include "structs.h"

namespace latentloop {

namespace {

ll_sample_params read(const ll_sample_params* params) {
  const auto oldest = offsetof(ll_sample_params, user) + sizeof(params->user);
  return read_params(params, ll_default_sample_params(), oldest);
}

void check_count(int64_t count) {
  if (count < 0 || count > kMostSamples)
    throw Error(LL_INVALID_ARGUMENT, text("count is ", count, ", expected from 0 to ", kMostSamples));
}

// Checks the caller's memory for images.
void check_images(const Manifest& manifest, const void* images, size_t bytes, int64_t count) {
  if (count > 0) require(images, "images");
  if (bytes / static_cast<size_t>(image_size(manifest)) < static_cast<size_t>(count))
    throw Error(LL_INVALID_ARGUMENT,
                text("images_bytes is ", bytes, ", expected at least ", count, " times ", image_size(manifest)));
}

}  // namespace

}  // namespace latentloop

using namespace latentloop;

ll_status ll_sample(ll_sampler* sampler, const ll_sample_params* params, uint8_t* images, size_t images_bytes,
                    int64_t* const* codes, int64_t* finished) {
  int64_t done = 0;
  const ll_status status = run(sampler, [&](Sampler& running) {
    const Request request{running, read(params)};
    if (images != nullptr) check_images(running.manifest(), images, images_bytes, request.count());
    sample(running, request, {images, codes}, done);
  });
  if (finished != nullptr) *finished = done;
  return status;
}

ll_status ll_sample_best(ll_sampler* sampler, const ll_sample_params* params, int64_t candidates, uint8_t* images,
                         size_t images_bytes, int64_t* const* codes, uint64_t* seeds, int64_t* labels,
                         float* confidence, int64_t* finished) {
  int64_t done = 0;
  const ll_status status = run(sampler, [&](Sampler& running) {
    const Request request{running, read(params)};
    if (images != nullptr) check_images(running.manifest(), images, images_bytes, request.count());
    sample_best(running, request, candidates, {images, codes}, {seeds, labels, confidence}, done);
  });
  if (finished != nullptr) *finished = done;
  return status;
}

ll_status ll_encode(ll_sampler* sampler, const uint8_t* images, size_t images_bytes, int64_t count,
                    int64_t* const* codes) {
  return run(sampler, [&](Sampler& running) {
    check_count(count);
    check_images(running.manifest(), images, images_bytes, count);
    if (count > 0) require(codes, "codes");
    encode(running, images, count, codes);
  });
}

ll_status ll_decode(ll_sampler* sampler, const int64_t* const* codes, int64_t count, uint8_t* images,
                    size_t images_bytes) {
  return run(sampler, [&](Sampler& running) {
    check_count(count);
    check_images(running.manifest(), images, images_bytes, count);
    if (count > 0) require(codes, "codes");
    check_codes_to_decode(running, codes, count);
    decode(running, codes, count, images);
  });
}

ll_status ll_log_likelihood(ll_sampler* sampler, const int64_t* const* codes, const int64_t* labels, int64_t count,
                            double* const* nats) {
  return run(sampler, [&](Sampler& running) {
    check_count(count);
    if (count > 0) require(codes, "codes");
    if (count > 0) require(nats, "nats");
    log_likelihood(running, codes, labels, count, nats);
  });
}

ll_status ll_classify(ll_sampler* sampler, const uint8_t* images, size_t images_bytes, int64_t count,
                      float* probabilities) {
  return run(sampler, [&](Sampler& running) {
    check_classifier(running.manifest());
    check_count(count);
    check_images(running.manifest(), images, images_bytes, count);
    if (count > 0) require(probabilities, "probabilities");
    classify(running, images, count, probabilities);
  });
}
