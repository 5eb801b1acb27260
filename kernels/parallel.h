// Threads for work outside ONNX Runtime: a session lends its threads only while a graph runs, not while it is loaded.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <system_error>
#include <thread>
#include <vector>

namespace latentloop {

// One per processor, at most 8: packing weights gains nothing from more.
inline size_t loading_threads() { return std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), 8); }

// Calls work(0) to work(count - 1) on up to `most` threads. Rethrows the first exception once all threads have ended.
template <typename Work>
void for_each_in_parallel(size_t count, const Work& work, size_t most = loading_threads()) {
  const size_t threads = std::min(count, most);
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t item = next++; item < count; item = next++) work(item);
  };
  std::vector<std::future<void>> others;
  try {
    for (size_t t = 1; t < threads; ++t) others.push_back(std::async(std::launch::async, run));
  } catch (const std::system_error&) {  // the system has no more threads: continue with fewer
  }
  run();
  for (std::future<void>& other : others) other.get();
}

}  // namespace latentloop
