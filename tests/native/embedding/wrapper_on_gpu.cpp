// The C++ wrapper with arrays and streams of the simulated GPU, which cuda_runtime_api.h checks at the end:
//
//     wrapper_on_gpu BUNDLE
#include <cuda_runtime_api.h>
#include <fake_cuda.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <latentloop/latentloop.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using latentloop::Bundle;
using latentloop::Codes;
using latentloop::Error;
using latentloop::Images;
using latentloop::Level;
using latentloop::SampleParams;
using latentloop::Sampler;
using latentloop::SamplerParams;
using latentloop::Samples;

namespace {

void require(bool condition, const std::string& what) {
  if (!condition) {
    std::fprintf(stderr, "failed: %s; violation: %s\n", what.c_str(), fake_cuda_violation());
    std::exit(1);
  }
}

void check(cudaError_t status) { require(status == cudaSuccess, cudaGetErrorString(status)); }

template <typename Function>
void require_refused(Function function, const std::string& word) {
  try {
    function();
  } catch (const Error& error) {
    require(error.status() == LL_INVALID_ARGUMENT, error.what());
    require(std::string(error.what()).find(word) != std::string::npos, error.what());
    return;
  }
  require(false, word);
}

struct Stream {
  cudaStream_t handle{};
  Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(handle); }
};

template <typename T>
class GpuArray {
 public:
  explicit GpuArray(size_t size) : size_(size) {
    void* allocated = nullptr;
    check(cudaMalloc(&allocated, size * sizeof(T)));
    data_ = static_cast<T*>(allocated);
  }
  GpuArray(GpuArray&& other) : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  ~GpuArray() { cudaFree(data_); }

  T* data() const { return data_; }

  // Enqueues the copy of the values, which must stay where they are.
  void put(const std::vector<T>& values, const Stream& stream) {
    check(cudaMemcpyAsync(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice, stream.handle));
  }

  std::vector<T> get(const Stream& stream) const {
    std::vector<T> values(size_);
    check(cudaMemcpyAsync(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream.handle));
    check(cudaStreamSynchronize(stream.handle));
    return values;
  }

 private:
  size_t size_;
  T* data_{};
};

bool nearly_equal(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {  // up to rounding
  bool equal = a.size() == b.size();
  for (size_t i = 0; equal && i < a.size(); ++i) equal = std::abs(a[i] - b[i]) <= 1;
  return equal;
}

int64_t waits() { return fake_cuda_calls("cuEventSynchronize") + fake_cuda_calls("cuStreamSynchronize"); }

void test(const Bundle& bundle, const Stream& stream) {
  constexpr int64_t kCount{3};
  SampleParams params;
  params.count = kCount;
  params.labels = {5, 0, 2};
  params.seed = 11;
  SamplerParams on_cpu, on_gpu;
  on_cpu.device = "cpu";
  on_gpu.device = "tensorrt";
  Sampler cpu{bundle, on_cpu};
  const Samples expected = cpu.sample(params);
  const size_t bytes = expected.images.pixels.size();

  GpuArray<uint8_t> images{bytes};
  std::vector<GpuArray<int64_t>> codes;
  std::vector<int64_t*> targets;
  for (const Level& level : bundle.levels()) {
    codes.emplace_back(kCount * level.size());
    targets.push_back(codes.back().data());
  }
  const auto same_codes = [&](const Codes& values) {
    for (size_t i = 0; i < codes.size(); ++i)
      if (codes[i].get(stream) != values[i]) return false;
    return true;
  };

  Sampler sampler{bundle, on_gpu};
  require(sampler.device() == "tensorrt:0", sampler.device());
  sampler.set_stream(stream.handle);
  require(sampler.sample_into(params, images.data(), bytes, targets) == kCount, "the number of samples");
  require(same_codes(expected.codes), "the codes of the CPU");
  require(nearly_equal(images.get(stream), expected.images.pixels), "the images of the CPU");
  require(sampler.sample(params).codes == expected.codes, "vectors");
  sampler.encode(expected.images);  // the encoder is loaded

  // Nothing waits between the program's copies to the GPU and those back.
  const std::vector<uint8_t> nothing(bytes);
  std::vector<uint8_t> pixels(bytes);
  Codes zeros = expected.codes;
  for (std::vector<int64_t>& level : zeros) std::fill(level.begin(), level.end(), 0);
  const int64_t before = waits();
  images.put(nothing, stream);
  for (size_t i = 0; i < codes.size(); ++i) codes[i].put(expected.codes[i], stream);
  sampler.decode_into({targets.begin(), targets.end()}, kCount, images.data(), bytes);
  check(cudaMemcpyAsync(pixels.data(), images.data(), bytes, cudaMemcpyDeviceToHost, stream.handle));
  images.put(expected.images.pixels, stream);
  for (size_t i = 0; i < codes.size(); ++i) codes[i].put(zeros[i], stream);
  sampler.encode_into(images.data(), bytes, kCount, targets);
  require(waits() == before, "the host does not wait");
  require(same_codes(cpu.encode(expected.images)), "encoded codes");
  require(nearly_equal(pixels, expected.images.pixels), "decoded images");

  // The top codes are on the GPU, and the others on the host or to be drawn.
  codes[0].put(expected.codes[0], stream);
  SampleParams kept = params;
  kept.seed = 77;
  kept.given = expected.codes;
  kept.given.back().clear();
  const Codes redrawn = cpu.sample(kept).codes;
  kept.given.clear();
  kept.given_arrays.assign(targets.begin(), targets.end());
  kept.given_arrays.back() = nullptr;
  require(sampler.sample_into(kept, nullptr, 0, targets) == kCount && same_codes(redrawn), "given codes");
  kept.progress = [](const ll_progress& progress) { return progress.row < 3; };
  require(sampler.sample_into(kept, nullptr, 0) == 0, "cancelled");

  require_refused([&] { sampler.sample_into(params, images.data(), bytes - 1); }, "images_bytes");
  require_refused([] { latentloop::set_tensorrt("/absent"); }, "TensorRT is loaded already");
}

}  // namespace

int main(int count, char** arguments) {
  require(count == 2, "the argument is a bundle");
  const Stream stream;  // lives longer than the sampler
  test(Bundle{arguments[1]}, stream);
  std::puts("passed");
}
