// Draws images with TensorRT engines into memory of the GPU, on a stream of its own, and writes them as a PPM file:
//
//     engines BUNDLE COUNT SEED OUT.ppm [PRECISION]
//
// In the upper row are COUNT images. Each one below has the same top codes, so that it has the same composition, and
// other details.
#include <cuda_runtime_api.h>

#include <fstream>
#include <iostream>
#include <latentloop/latentloop.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

struct Stream {
  cudaStream_t handle{};

  Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(handle); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

template <typename T>
struct FreeOnGpu {
  void operator()(T* array) const { cudaFree(array); }
};

template <typename T>
using GpuArray = std::unique_ptr<T, FreeOnGpu<T>>;

template <typename T>
GpuArray<T> allocate(int64_t size) {
  void* array = nullptr;
  check(cudaMalloc(&array, size * sizeof(T)));
  return GpuArray<T>(static_cast<T*>(array));
}

// Writes rows of images; row y of the picture is row y of every image.
void write(const std::string& path, const latentloop::Images& images, int64_t per_row) {
  std::ofstream file(path, std::ios::binary);
  const int64_t rows = images.count / per_row, row_bytes = int64_t{images.width} * images.channels;
  file << (images.channels == 1 ? "P5 " : "P6 ") << images.width * per_row << ' ' << images.height * rows << " 255\n";
  for (int64_t first = 0; first < images.count; first += per_row)
    for (int32_t y = 0; y < images.height; ++y)
      for (int64_t i = first; i < first + per_row; ++i)
        file.write(reinterpret_cast<const char*>(images.image(i) + y * row_bytes), row_bytes);
  if (!file.flush()) throw std::runtime_error(path + ": cannot write");
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 5 && count != 6) throw std::invalid_argument("usage: engines BUNDLE COUNT SEED OUT.ppm [PRECISION]");
  const latentloop::Bundle bundle(arguments[1]);
  const int64_t n = std::stoll(arguments[2]);
  if (n < 1 || n > 1000) throw std::invalid_argument("COUNT is from 1 to 1000");

  latentloop::SamplerParams on_gpu;
  on_gpu.device = "tensorrt";
  if (count == 6) on_gpu.precision = arguments[5];
  latentloop::Sampler opened(bundle, on_gpu);  // at first, because its message says what is missing

  // The program's stream and memory are there until the sampler is destroyed.
  const Stream stream;
  latentloop::Images picture = bundle.images(2 * n);
  const size_t row_bytes = picture.pixels.size() / 2;
  const GpuArray<uint8_t> images = allocate<uint8_t>(2 * row_bytes);
  std::vector<GpuArray<int64_t>> codes;  // by level
  std::vector<int64_t*> targets;
  for (const latentloop::Level& level : bundle.levels()) {
    codes.push_back(allocate<int64_t>(n * level.size()));
    targets.push_back(codes.back().get());
  }

  latentloop::Sampler sampler = std::move(opened);
  sampler.set_stream(stream.handle);

  // The upper row. The codes stay on the GPU. decode_into only enqueues: the stream's later work is done after it.
  latentloop::SampleParams params;
  params.count = n;
  params.seed = std::stoull(arguments[3]);
  const auto classes = static_cast<int64_t>(bundle.classes().size());
  for (int64_t i = 0; i < n && classes > 0; ++i) params.labels.push_back(i % classes);
  sampler.sample_into(params, nullptr, 0, targets);
  sampler.decode_into({targets.begin(), targets.end()}, n, images.get(), row_bytes);

  // The lower row. The top codes are read from where they are; those of the other levels are drawn again.
  params.given_arrays.assign(targets.size(), nullptr);
  params.given_arrays[0] = targets[0];
  params.seed += n;
  sampler.sample_into(params, images.get() + row_bytes, row_bytes);

  check(cudaMemcpyAsync(picture.pixels.data(), images.get(), 2 * row_bytes, cudaMemcpyDeviceToHost, stream.handle));
  check(cudaStreamSynchronize(stream.handle));
  write(arguments[4], picture, n);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
