// Launches a kernel by name: runs its blocks one after another, in a random order.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block.h"
#include "nearest_codebook/arguments.h"

namespace latentloop::grid {

using Kernel = void (*)(nearest::Arguments);
using Kernels = std::map<std::string, Kernel>;

// An entry of Kernels.
#define LATENTLOOP_NAMED(name) {#name, name}

// Throws Fault, which names the kernel and the block, or an invalid grid.
inline void launch(const Kernels& kernels, const std::string& name, int64_t grid_x, int grid_y, int threads,
                   const nearest::Arguments& arguments, uint64_t seed) {
  const auto kernel = kernels.find(name);
  if (kernel == kernels.end()) throw Fault("no kernel " + name);
  if (grid_x < 1 || grid_y < 1 || grid_y > 65535 || threads < kWarp || threads > 1024 || threads % kWarp != 0)
    throw Fault(name + ": a grid of " + std::to_string(grid_x) + " x " + std::to_string(grid_y) + " blocks of " +
                std::to_string(threads) + " threads, expected 1 or more by 1 to 65535 of whole warps up to 1024");
  std::vector<std::pair<int64_t, int>> order;
  for (int y = 0; y < grid_y; ++y)
    for (int64_t x = 0; x < grid_x; ++x) order.emplace_back(x, y);
  static thread_local std::unique_ptr<Block> block;  // reused, because allocating the stacks is slow
  if (block == nullptr || block->threads() != threads) block = std::make_unique<Block>(threads);
  block->random = Random(seed);
  block->random.shuffle(order);
  for (const auto& [x, y] : order) try {
      block->run(x, y, [&] { kernel->second(arguments); });
    } catch (const Fault& fault) {
      throw Fault(name + ", block (" + std::to_string(x) + ", " + std::to_string(y) + "): " + fault.what());
    }
}

// The same for C callers. Returns 0, or 1 with a text in `error`.
inline int launch(const Kernels& kernels, const char* name, int64_t grid_x, int grid_y, int threads,
                  const void* arguments, uint64_t seed, char* error, size_t error_size) {
  try {
    launch(kernels, name, grid_x, grid_y, threads, *static_cast<const nearest::Arguments*>(arguments), seed);
    return 0;
  } catch (const std::exception& fault) {
    std::snprintf(error, error_size, "%s", fault.what());
    return 1;
  }
}

}  // namespace latentloop::grid
