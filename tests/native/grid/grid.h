// The operations of device.h, simulated on the CPU. Operations that are undefined in CUDA throw a Fault. Only device
// code includes this file; launch.h runs it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "block.h"
#include "numbers.h"
#include "tensor_core.h"

#define LATENTLOOP_KERNEL extern "C" void
#define LATENTLOOP_DEVICE inline
#define LATENTLOOP_UNROLL
#define LATENTLOOP_SHARED(T, name, count)                                                                  \
  const ::latentloop::nearest::Shared<T> name {                                                            \
    ::latentloop::grid::Block::current().shared(#name, sizeof(T), count, ::latentloop::grid::Site::here()) \
  }

namespace latentloop::nearest {

template <typename T>
struct alignas(16) Sixteen {
  T at[16 / sizeof(T)];
};

template <typename T>
Sixteen<T> load_sixteen(const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
    throw grid::Fault("loads 16 bytes from an address not aligned to 16");
  Sixteen<T> loaded;
  std::memcpy(&loaded, from, sizeof loaded);
  return loaded;
}

template <typename T>
class Shared {
 public:
  explicit Shared(grid::SharedArray& array) : array_(array) {}
  T get(int i) const { return load<T>(i, 1); }
  void set(int i, T value) const { store(i, 1, value); }
  Sixteen<T> get_sixteen(int i) const { return load<Sixteen<T>>(i, 16 / sizeof(T)); }
  void set_sixteen(int i, Sixteen<T> value) const { store(i, 16 / sizeof(T), value); }

 private:
  template <typename V>
  V load(int i, int count) const {
    const grid::Block& block = grid::Block::current();
    V value;
    std::memcpy(&value, array_.read(i, count, block.thread(), block.epoch()), sizeof value);
    return value;
  }
  template <typename V>
  void store(int i, int count, const V& value) const {
    const grid::Block& block = grid::Block::current();
    std::memcpy(array_.write(i, count, block.thread(), block.epoch()), &value, sizeof value);
  }

  grid::SharedArray& array_;
};

inline int thread_index() { return grid::Block::current().thread(); }
inline int64_t block_x() { return grid::Block::current().x(); }
inline int block_y() { return grid::Block::current().y(); }

inline void barrier(grid::Site site = grid::Site::here()) { grid::Block::current().barrier(site); }

template <typename T>
T shuffle_xor(T value, int mask, grid::Site site = grid::Site::here()) {
  static_assert(sizeof(T) == 4, "CUDA shuffles 32-bit words");
  struct Operand {
    T value, result;
    int mask;
  } operand{value, value, mask};
  if (mask < 0 || mask >= grid::kWarp)
    throw grid::Fault("shuffles with the lane mask " + std::to_string(mask) + ", expected one of 0 to 31");
  grid::Block::current().with_warp("shuffle", site, operand, [](const auto& lanes) {
    for (size_t lane = 0; lane < grid::kWarp; ++lane)
      lanes[lane]->result = lanes[lane ^ static_cast<size_t>(lanes[lane]->mask)]->value;
  });
  return operand.result;
}

inline float multiply_add(float a, float b, float c) { return std::fmaf(a, b, c); }
inline bool is_finite(float x) { return std::isfinite(x); }
inline float infinity() { return std::numeric_limits<float>::infinity(); }
inline float not_a_number() { return std::numeric_limits<float>::quiet_NaN(); }

// Threads run one at a time and switch only at waits, so plain additions are atomic.
inline void atomic_add(int32_t* to, int32_t value) { *to += value; }
inline void atomic_largest(float* to, float value) {
  if (!(value >= 0)) throw grid::Fault("atomic_largest of a negative value");
  *to = std::fmax(*to, value);
}

template <typename T>
void multiply_matrices(T, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4],
                       grid::Site site = grid::Site::here()) {
  grid::Fragments fragments{a, b, c};
  grid::Block& block = grid::Block::current();
  block.with_warp("matrix product", site, fragments, [&](const auto& lanes) {
    grid::multiply_fragments<T>(lanes, block.random, [](T value) { return widen(value); });
  });
}

}  // namespace latentloop::nearest
