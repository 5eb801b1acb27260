// Two threads draw images at the same time, each with its own sampler; the samplers share the bundle's weights. Writes
// the images, of seeds 0, 1, ..., as PPM files:  two_threads BUNDLE COUNT FOLDER
#include <fstream>
#include <future>
#include <iostream>
#include <latentloop/latentloop.hpp>
#include <thread>

namespace {

void draw(const latentloop::Bundle& bundle, int64_t first, int64_t end, const std::string& folder) {
  latentloop::SamplerParams half;
  half.threads = static_cast<int32_t>(std::thread::hardware_concurrency() + 1) / 2;
  latentloop::Sampler sampler(bundle, half);
  const auto classes = static_cast<int64_t>(bundle.classes().size());
  for (int64_t seed = first; seed < end; ++seed) {
    latentloop::SampleParams params;
    params.seed = static_cast<uint64_t>(seed);
    if (classes > 0) params.labels = {seed % classes};  // otherwise every call begins with the first class
    const latentloop::Images images = sampler.sample(params).images;
    std::ofstream file(folder + "/" + std::to_string(seed) + ".ppm", std::ios::binary);
    file << (images.channels == 1 ? "P5 " : "P6 ") << images.width << ' ' << images.height << " 255\n";
    file.write(reinterpret_cast<const char*>(images.image(0)), images.image_bytes());
    if (!file.flush()) throw std::runtime_error(folder + ": cannot write");
  }
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 4) throw std::invalid_argument("usage: two_threads BUNDLE COUNT FOLDER");
  const latentloop::Bundle bundle(arguments[1]);
  const int64_t images = std::stoll(arguments[2]);

  const std::string folder = arguments[3];
  std::future<void> other = std::async(std::launch::async, [&] { draw(bundle, images / 2, images, folder); });
  draw(bundle, 0, images / 2, folder);
  other.get();  // throws what the other thread threw
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
