// Threads for work that is done once, when a graph is loaded; a session lends its own only to running graphs.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <system_error>
#include <thread>
#include <vector>

namespace latentloop {

// Calls work(0) to work(count - 1), on up to 8 threads. The first exception is thrown again once all have ended.
template <typename Work>
void for_each_in_parallel(size_t count, const Work& work) {
  const size_t threads = std::min<size_t>({count, std::max(1u, std::thread::hardware_concurrency()), 8});
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
