// The layout of vectors in global memory, and loads of a thread's part of a tile into registers.
#pragma once

#include "device.h"

namespace latentloop::nearest {

// A set of vectors: value d of vector n is at base(n) + d * stride.
template <typename T>
struct Vectors {
  const T* first;
  int64_t positions;  // per image; 0: rows [N, D]
  int dimensions;
  bool aligned;  // 16-byte loads are possible at every multiple of 16 bytes

  LATENTLOOP_DEVICE Vectors(const void* memory, int64_t positions_, int dimensions_)
      : first(static_cast<const T*>(memory)), positions(positions_), dimensions(dimensions_) {
    constexpr int kSixteen{16 / sizeof(T)};
    aligned = positions == 0 && dimensions % kSixteen == 0 && reinterpret_cast<uintptr_t>(memory) % 16 == 0;
  }

  LATENTLOOP_DEVICE int64_t base(int64_t n) const {
    return positions == 0 ? n * dimensions : n / positions * positions * dimensions + n % positions;
  }
  LATENTLOOP_DEVICE int64_t stride() const { return positions == 0 ? 1 : positions; }

  // Loads values[i] = value d + i of the vector with base `from`; 0 beyond the last dimension, or if not `live`.
  template <int Count>
  LATENTLOOP_DEVICE void fetch(int64_t from, bool live, int d, T (&values)[Count]) const {
    constexpr int kSixteen{16 / sizeof(T)};
    static_assert(Count % kSixteen == 0, "whole loads");
    LATENTLOOP_UNROLL
    for (int part = 0; part < Count; part += kSixteen) {
      if (aligned && live && d + part < dimensions) {  // `dimensions` is a multiple, so all 16 bytes exist
        const Sixteen<T> loaded = load_sixteen(first + from + d + part);
        LATENTLOOP_UNROLL
        for (int i = 0; i < kSixteen; ++i) values[part + i] = loaded.at[i];
      } else {
        LATENTLOOP_UNROLL
        for (int i = part; i < part + kSixteen; ++i)
          values[i] = live && d + i < dimensions ? first[from + (d + i) * stride()] : T(0.0f);
      }
    }
  }
};

}  // namespace latentloop::nearest
