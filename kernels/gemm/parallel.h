// Threads for work outside a session, which lends its own only to running graphs: above all for loading one.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <system_error>
#include <thread>
#include <vector>

namespace latentloop {

// As many as there are processors, but no more than packing gains from.
inline size_t loading_threads() { return std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), 8); }

// Calls work(0) to work(count - 1), on up to `most` threads. The first exception is thrown again once all have ended.
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
  } catch (const std::system_error&) {  // no more threads to be had: fewer do
  }
  run();
  for (std::future<void>& other : others) other.get();
}

}  // namespace latentloop
