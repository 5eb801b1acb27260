// Draws images and writes them side by side, as a PNG file, with progress:  grid BUNDLE COUNT SEED OUT.png
#include <png.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <latentloop/latentloop.hpp>

int main(int count, char** arguments) try {
  if (count != 5) throw std::invalid_argument("usage: grid BUNDLE COUNT SEED OUT.png");
  const latentloop::Bundle bundle(arguments[1]);
  latentloop::Sampler sampler(bundle);

  latentloop::SampleParams params;
  params.count = std::stoll(arguments[2]);
  params.seed = std::stoull(arguments[3]);
  const std::vector<latentloop::Level> levels = bundle.levels();
  params.progress = [&levels](const ll_progress& progress) {
    std::fprintf(stderr, "\r%d of %d images, %s: row %d of %d ", static_cast<int>(progress.image),
                 static_cast<int>(progress.images), levels[progress.level].name.c_str(), progress.row, progress.rows);
    return true;
  };
  const latentloop::Images images = sampler.sample(params).images;
  std::fputc('\n', stderr);

  // One row of images: row y of the picture is row y of every image.
  const int64_t row = int64_t{images.width} * images.channels;
  std::vector<uint8_t> pixels;
  for (int32_t y = 0; y < images.height; ++y)
    for (int64_t i = 0; i < images.count; ++i) std::copy_n(images.image(i) + y * row, row, std::back_inserter(pixels));

  png_image picture{};
  picture.version = PNG_IMAGE_VERSION;
  picture.width = static_cast<png_uint_32>(images.width * images.count);
  picture.height = images.height;
  picture.format = images.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  if (!png_image_write_to_file(&picture, arguments[4], 0, pixels.data(), 0, nullptr))
    throw std::runtime_error(std::string(arguments[4]) + ": " + picture.message);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
