/* Draws one image, in C99, and writes it as a PPM file:  one_image BUNDLE SEED OUT.ppm */
#include <inttypes.h>
#include <latentloop/latentloop.h>
#include <stdio.h>
#include <stdlib.h>

static void check(ll_status status) {
  if (status != LL_OK) {
    fprintf(stderr, "%s: %s\n", ll_status_name(status), ll_last_error());
    exit(EXIT_FAILURE);
  }
}

int main(int count, char** arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: %s BUNDLE SEED OUT.ppm\n", arguments[0]);
    return EXIT_FAILURE;
  }

  ll_bundle* bundle;
  ll_sampler* sampler;
  int32_t height, width, channels;
  check(ll_bundle_open(arguments[1], &bundle));
  check(ll_bundle_image(bundle, &height, &width, &channels));
  check(ll_sampler_create(bundle, NULL, &sampler));

  size_t bytes = (size_t)height * (size_t)width * (size_t)channels;
  uint8_t* image = malloc(bytes);
  ll_sample_params params = ll_default_sample_params();
  params.seed = strtoull(arguments[2], NULL, 10);
  if (image == NULL) return EXIT_FAILURE;
  check(ll_sample(sampler, &params, image, bytes, NULL, NULL));

  FILE* file = fopen(arguments[3], "wb");
  if (file == NULL) {
    perror(arguments[3]);
    return EXIT_FAILURE;
  }
  fprintf(file, "P%d %" PRId32 " %" PRId32 " 255\n", channels == 1 ? 5 : 6, width, height);
  size_t written = fwrite(image, 1, bytes, file);
  if (fclose(file) != 0 || written != bytes) {
    perror(arguments[3]);
    return EXIT_FAILURE;
  }

  free(image);
  ll_sampler_destroy(sampler);
  ll_bundle_close(bundle);
  return EXIT_SUCCESS;
}
