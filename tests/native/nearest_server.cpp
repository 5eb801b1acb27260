// Reads searches from standard input, runs them with the CUDA kernels in the CPU simulation of grid/, and writes the
// results to standard output, until the end of the input. Every array has exactly the size that arguments.h specifies,
// so that AddressSanitizer detects accesses beyond; outputs and scratch memory are filled with noise first.
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "nearest_codebook/cuda/plan.h"

extern "C" int latentloop_grid_launch(const char* kernel, int64_t grid_x, int grid_y, int threads,
                                      const void* arguments, uint64_t seed, char* error, size_t error_size);

namespace {

using namespace latentloop::nearest;

// Written by tests/nearest_grid.py, followed by z and the codebook.
struct Request {
  int64_t vectors, positions;
  uint64_t seed;
  int32_t dimensions, codewords;
  Type type;
  int32_t tensor_cores, multiprocessors;
  int32_t offset;                       // of every array from an aligned address, in bytes
  int32_t distance, codeword, invalid;  // 1: requested
  int32_t reserved;
};
static_assert(sizeof(Request) == 64, "no padding");

bool read(void* to, size_t bytes) { return bytes == 0 || std::fread(to, 1, bytes, stdin) == bytes; }
void write(const void* from, size_t bytes) {
  if (bytes > 0 && std::fwrite(from, 1, bytes, stdout) != bytes) throw std::runtime_error("standard output was closed");
}

// An array that begins `offset` bytes after an aligned address, and ends at the end of its memory.
class Array {
 public:
  Array(int64_t elements, size_t element_bytes, int32_t offset, uint64_t seed)
      : offset_(static_cast<size_t>(offset)),
        memory_(offset_ + static_cast<size_t>(elements) * element_bytes, static_cast<std::byte>(0x55 + seed % 0x88)) {}
  std::byte* data() { return memory_.data() + offset_; }
  size_t bytes() const { return memory_.size() - offset_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }

 private:
  size_t offset_;
  std::vector<std::byte> memory_;
};

// Runs the three kernels. Returns the error text, or "".
std::string search(const Request& r, const Plan& plan, const Arguments& arguments) {
  const std::string type = r.type == Type::kFloat32 ? "f32" : r.type == Type::kFloat16 ? "f16" : "bf16";
  uint64_t seed = r.seed;
  char error[512];
  const auto fails = [&](const std::string& kernel, int64_t grid_x, int grid_y) {
    return latentloop_grid_launch(kernel.c_str(), grid_x, grid_y, kThreads, &arguments, seed++, error, sizeof error);
  };
  if (fails("nearest_prepare_" + type, plan.prepare_blocks, 1)) return error;
  if (r.vectors == 0) return "";
  if (fails((r.tensor_cores ? "nearest_search_tensor_" : "nearest_search_") + type, plan.search_blocks, plan.splits) ||
      fails("nearest_resolve_" + type, plan.resolve_blocks, 1))
    return error;
  return "";
}

void answer(const Request& r) {
  const size_t bytes = r.type == Type::kFloat32 ? 4 : 2;
  const Plan p = plan(r.vectors, r.codewords, r.multiprocessors);
  const int32_t words = r.offset / 4 * 4, longs = r.offset / 8 * 8;  // multiples of the element size
  Array z(r.vectors * r.dimensions, bytes, r.offset, r.seed);
  Array codebook(int64_t{r.codewords} * r.dimensions, bytes, r.offset, r.seed);
  if (!read(z.data(), z.bytes()) || !read(codebook.data(), codebook.bytes()))
    throw std::runtime_error("the request is truncated");
  Array half_norms(r.codewords, 4, words, r.seed), largest(1, 4, words, r.seed);
  Array partials(r.vectors * p.splits, sizeof(Partial), 0, r.seed);
  Array index(r.vectors, 8, longs, r.seed), distance(r.vectors, 4, words, r.seed);
  Array codeword(r.vectors * r.dimensions, bytes, r.offset, r.seed), invalid(1, 4, words, r.seed);
  *largest.as<float>() = 0;
  *invalid.as<int32_t>() = 0;
  Arguments a{};
  a.z = z.data(), a.codebook = codebook.data();
  a.half_norms = half_norms.as<float>(), a.largest = largest.as<float>(), a.partials = partials.as<Partial>();
  a.index = index.as<int64_t>();
  if (r.distance) a.distance = distance.as<float>();
  if (r.codeword) a.codeword = codeword.data();
  if (r.invalid) a.invalid = invalid.as<int32_t>();
  a.vectors = r.vectors, a.positions = r.positions, a.dimensions = r.dimensions, a.codewords = r.codewords;
  a.splits = p.splits, a.split_codewords = p.split_codewords;
  const std::string error = search(r, p, a);
  const int32_t error_bytes = static_cast<int32_t>(error.size());
  write(&error_bytes, sizeof error_bytes);
  write(error.data(), error.size());
  if (error.empty())
    for (Array* output : {&half_norms, &largest, &index, &distance, &codeword, &invalid})
      write(output->data(), output->bytes());
  std::fflush(stdout);
}

}  // namespace

int main() {
  try {
    for (Request request; read(&request, sizeof request);) answer(request);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
