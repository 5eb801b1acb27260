// Packed weights shared by every operator that is made from the same ones: a step's columns, and the sessions of a
// process. Without this each would stream a copy of its own, and push the others' out of the cache.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime.h"

namespace latentloop {

// What identifies weights: a 128-bit hash of their kinds, shapes and values.
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

// The weights with that fingerprint: those that some operator holds already, or what `make` makes. They live as long as
// their holders; the table itself holds nothing.
template <typename Weights, typename Make>
std::shared_ptr<const Weights> shared_weights(const Fingerprint& fingerprint, Make make) {
  static std::mutex mutex;
  static std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<const Weights>> known;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<const Weights>& entry = known[fingerprint.value()];
  std::shared_ptr<const Weights> found = entry.lock();
  if (found == nullptr) {
    found = std::make_shared<const Weights>(make());
    entry = found;
  }
  return found;
}

}  // namespace latentloop
