/* The C interface from C99, without Python: the version, a bundle, an error, and one image if ONNX Runtime is found. */
#include <latentloop/latentloop.h>
#include <stdio.h>
#include <stdlib.h>

#define SKIPPED 77

static void require(int condition, const char* what) {
  if (!condition) {
    fprintf(stderr, "failed: %s (%s)\n", what, ll_last_error());
    exit(1);
  }
}

int main(int count, char** arguments) {
  ll_bundle* bundle;
  ll_sampler* sampler = NULL;
  ll_level level;
  ll_sample_params params = ll_default_sample_params();
  int32_t height, width, channels;
  int64_t finished = -1;
  uint8_t *image, *again;
  size_t bytes;
  ll_status status;

  require(count == 2, "the argument is a bundle");
  require(ll_version()[0] != '\0', "a version");
  require(ll_last_error()[0] == '\0', "no error at first");
  require(ll_bundle_open("missing", &bundle) == LL_BAD_BUNDLE, "a missing bundle");
  require(bundle == NULL && strstr(ll_last_error(), "missing") != NULL, "its name");

  require(ll_bundle_open(arguments[1], &bundle) == LL_OK, "opening the bundle");
  require(ll_bundle_image(bundle, &height, &width, &channels) == LL_OK, "the size of its images");
  require(ll_bundle_level(bundle, 0, &level) == LL_OK && level.height > 0, "its first level");
  require(ll_bundle_level(bundle, ll_bundle_levels(bundle), &level) == LL_INVALID_ARGUMENT, "no further level");

  status = ll_sampler_create(bundle, NULL, &sampler);
  if (status == LL_MISSING) {
    printf("skipped: %s\n", ll_last_error());
    return SKIPPED;
  }
  require(status == LL_OK, "a sampler");
  ll_bundle_close(bundle); /* the sampler keeps what it needs */
  bytes = (size_t)height * (size_t)width * (size_t)channels;
  image = calloc(2, bytes);
  again = calloc(1, bytes);
  require(image != NULL && again != NULL, "memory");
  params.seed = 7;
  params.count = 2;
  require(ll_sample(sampler, &params, image, bytes, NULL, NULL) == LL_INVALID_ARGUMENT, "a small buffer is refused");
  require(ll_sample(sampler, &params, image, 2 * bytes, NULL, &finished) == LL_OK, "sampling");
  require(finished == 2 && memcmp(image, image + bytes, bytes) != 0, "two different images");
  params.count = 1;
  params.batch = 2;
  require(ll_sample(sampler, &params, again, bytes, NULL, NULL) == LL_OK, "sampling again");
  require(memcmp(image, again, bytes) == 0, "the same image for the same seed");
  ll_sampler_destroy(sampler);
  free(image);
  free(again);
  return 0;
}
