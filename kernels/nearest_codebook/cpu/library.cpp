// Implementation of library.h: checks, threads and status codes around the kernel.
#include "library.h"

#include <algorithm>
#include <atomic>
#include <exception>

#include "../../dispatch.h"
#include "../../parallel.h"
#include "../arguments.h"
#include "codebook.h"

struct latentloop_codebook {
  latentloop::PackedCodebook packed;
};

namespace {

using namespace latentloop;

constexpr int64_t kMostVectors{int64_t{1} << 40};  // sizes in bytes do not overflow

// Runs the task on up to `threads` threads (0: one per processor). Returns false if out of memory.
bool search(const NearestTask& task, size_t threads) {
  const Kernel<NearestTask>& kernel = best_kernels().nearest;
  std::atomic<bool> complete{true};
  const auto item = [&](size_t index) {
    if (!kernel.run(task, index)) complete = false;
  };
  const size_t useful = useful_threads(task), items = kernel.items(task);
  if (useful == 1) {
    for (size_t index = 0; index < items; ++index) item(index);
  } else {
    const size_t most = threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
    for_each_in_parallel(items, item, std::min(most, useful));
  }
  return complete;
}

}  // namespace

int32_t latentloop_codebook_create(const float* codewords, int64_t count, int64_t dimensions,
                                   latentloop_codebook** codebook) {
  if (codebook == nullptr) return LATENTLOOP_INVALID_ARGUMENT;
  *codebook = nullptr;
  if (codewords == nullptr || count < 1 || count > nearest::kMostCodewords || dimensions < 1 ||
      dimensions > nearest::kMostDimensions)
    return LATENTLOOP_INVALID_ARGUMENT;
  try {
    const auto panel = static_cast<size_t>(best_kernels().panel);
    *codebook = new latentloop_codebook{
        PackedCodebook(codewords, static_cast<size_t>(count), static_cast<size_t>(dimensions), panel)};
  } catch (const std::exception&) {
    return LATENTLOOP_OUT_OF_MEMORY;
  }
  return LATENTLOOP_OK;
}

void latentloop_codebook_free(latentloop_codebook* codebook) { delete codebook; }

int64_t latentloop_nearest_codebook(const latentloop_codebook* codebook, const float* z, int64_t vectors,
                                    int64_t positions, int32_t threads, int64_t* index, float* distance,
                                    float* codeword) {
  if (codebook == nullptr || vectors < 0 || vectors > kMostVectors || positions < 0 ||
      (positions > 0 && vectors % positions != 0) || threads < 0 || (vectors > 0 && (z == nullptr || index == nullptr)))
    return -LATENTLOOP_INVALID_ARGUMENT;
  NearestTask task = codebook->packed.task();
  task.z = z;
  task.index = index;
  task.distance = distance;
  task.codeword = codeword;
  task.vectors = vectors;
  task.positions = positions;
  try {
    if (!search(task, static_cast<size_t>(threads))) return -LATENTLOOP_OUT_OF_MEMORY;
  } catch (const std::exception&) {
    return -LATENTLOOP_OUT_OF_MEMORY;
  }
  return std::count(index, index + vectors, int64_t{-1});
}
