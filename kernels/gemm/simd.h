// SIMD vectors of float32, by the compiler's vector extension: the same source for SSE2, NEON, AVX2 and AVX-512.
// The including file defines LATENTLOOP_VECTOR_BYTES and is compiled with the matching flags. All functions are
// internal to that file, and it uses nothing of the C++ library: otherwise the linker could keep one copy of an inline
// function, compiled for AVX-512, for all processors.
#pragma once

#include <stdint.h>
#include <string.h>

#ifndef LATENTLOOP_VECTOR_BYTES
#error "define LATENTLOOP_VECTOR_BYTES"
#endif

namespace {

typedef float Floats __attribute__((vector_size(LATENTLOOP_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(LATENTLOOP_VECTOR_BYTES)));

constexpr int kLanes{LATENTLOOP_VECTOR_BYTES / 4};

inline Floats load(const float* from) {
  Floats v;
  memcpy(&v, from, sizeof v);  // `from` may be unaligned
  return v;
}

inline void store(float* to, Floats v) { memcpy(to, &v, sizeof v); }

// Number of lanes that the next vector uses if `left` values are left.
inline int part_of(int left) { return left >= kLanes ? kLanes : left > 0 ? left : 0; }

// Loads the first `count` lanes and reads no memory beyond them.
inline Floats load_part(const float* from, int count) {
  if (count == kLanes) return load(from);
  Floats v{};
  memcpy(&v, from, sizeof(float) * static_cast<size_t>(count));
  return v;
}

// Stores the first `count` lanes and writes no memory beyond them.
inline void store_part(float* to, Floats v, int count) {
  if (count == kLanes) return store(to, v);
  memcpy(to, &v, sizeof(float) * static_cast<size_t>(count));
}

inline Floats broadcast(float value) { return value - Floats{}; }

// e^x with a relative error below 2e-7. Saturates outside [-87, 88]; NaN stays NaN.
inline Floats exp(Floats x) {
  const Floats low = broadcast(-87.0f), high = broadcast(88.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Floats shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats n = (x * 1.44269504088896341f + shifter) - shifter;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts (Cody and Waite)
  Floats p = broadcast(1.9875691500e-4f);                         // minimax polynomial of Cephes' expf
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  Floats scale;
  memcpy(&scale, &exponent, sizeof scale);
  return p * scale;
}

inline Floats elu(Floats x) {
  const Floats zero{};
  const Floats below = exp(x > zero ? zero : x) - 1.0f;
  return x > zero ? x : below;
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

}  // namespace
