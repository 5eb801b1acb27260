// Packed weights shared by all operators that were created from equal weights: those of a step's columns, and of
// several sessions of a process. With a copy each, they would evict each other's weights from the cache.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "../onnxruntime/runtime.h"

namespace latentloop {

// A 128-bit hash of the kind, shape and values of weights.
class Fingerprint {
 public:
  void add(uint64_t word) {
    low_ = (low_ ^ word) * 0x9E3779B97F4A7C15ull;
    low_ ^= low_ >> 29;
    high_ = (high_ + word) * 0xD6E8FEB86659FD93ull;
    high_ ^= high_ >> 32;
  }

  void add(const Shape& shape, const float* values) {
    size_t count = 1;
    for (const int64_t size : shape) add(static_cast<uint64_t>(size)), count *= static_cast<size_t>(size);
    for (size_t i = 0; i + 2 <= count; i += 2) {
      uint64_t word;
      std::memcpy(&word, values + i, sizeof word);
      add(word);
    }
    uint32_t last = 0;
    if (count % 2) std::memcpy(&last, values + count - 1, sizeof last);
    add(last);
  }

  std::pair<uint64_t, uint64_t> value() const { return {low_, high_}; }

 private:
  uint64_t low_{1}, high_{2};
};

// Returns the weights with that fingerprint: those that an operator already holds, or else the result of make(). The
// table holds weak references only, so weights are freed with their last operator.
template <typename Weights, typename Make>
std::shared_ptr<const Weights> shared_weights(const Fingerprint& fingerprint, Make make) {
  static std::mutex mutex;
  static std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<const Weights>> cache;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<const Weights>& entry = cache[fingerprint.value()];
  std::shared_ptr<const Weights> weights = entry.lock();
  if (weights == nullptr) {
    weights = std::make_shared<const Weights>(make());
    entry = weights;
  }
  return weights;
}

}  // namespace latentloop
