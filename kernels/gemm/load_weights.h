// Loads of packed weights, stored as fixed-point numbers of 1, 2 or 3 bytes with a scale per output, or as float32.
//
// A step reads every weight from memory for one or two rows of inputs, so the time is proportional to the bytes. Three
// bytes represent a weight to half a unit in the last place of its output's largest weight: for that weight, the
// precision of float32.
#pragma once

#include <stdint.h>
#include <string.h>

#include "simd.h"

#if LATENTLOOP_VECTOR_BYTES == 64 && defined(__AVX512BW__)
#define LATENTLOOP_WIDEN 64
#include <immintrin.h>
#elif LATENTLOOP_VECTOR_BYTES == 32 && defined(__AVX2__)
#define LATENTLOOP_WIDEN 32
#include <immintrin.h>
#else
#define LATENTLOOP_WIDEN 0  // no SIMD conversion of integers: lanes are converted one by one
#endif

namespace {

// Loads one vector of weights, in units of their scale. Weights of 3 bytes are returned multiplied by 2^8, because
// Panels::set divides their scale by 2^8.
template <int Bytes>
inline Floats weights_at(const uint8_t* from);

template <>
inline Floats weights_at<4>(const uint8_t* from) {
  Floats v;
  memcpy(&v, from, sizeof v);
  return v;
}

#if LATENTLOOP_WIDEN == 0

template <>
inline Floats weights_at<1>(const uint8_t* from) {
  Floats v;
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = static_cast<int8_t>(from[lane]);
  return v;
}

template <>
inline Floats weights_at<2>(const uint8_t* from) {
  int16_t integers[kLanes];
  memcpy(integers, from, sizeof integers);
  Floats v;
  for (int lane = 0; lane < kLanes; ++lane) v[lane] = integers[lane];
  return v;
}

template <>
inline Floats weights_at<3>(const uint8_t* from) {
  Floats v;
  for (int lane = 0; lane < kLanes; ++lane, from += 3) {
    const uint32_t bits = uint32_t{from[0]} << 8 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 24;
    v[lane] = static_cast<float>(static_cast<int32_t>(bits));
  }
  return v;
}

#else

inline __m128i bytes_at(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

// A shuffle for four weights of a 16-byte load: moves the three bytes of each to the upper bytes of an int32.
inline __m128i three_to_four_bytes() { return _mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11); }

#if LATENTLOOP_WIDEN == 32

template <>
inline Floats weights_at<1>(const uint8_t* from) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

template <>
inline Floats weights_at<2>(const uint8_t* from) {
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(bytes_at(from)));
}

template <>
inline Floats weights_at<3>(const uint8_t* from) {
  const __m256i joined = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes_at(from)), bytes_at(from + 12), 1);
  return (Floats)_mm256_cvtepi32_ps(_mm256_shuffle_epi8(joined, _mm256_broadcastsi128_si256(three_to_four_bytes())));
}

#else

template <>
inline Floats weights_at<1>(const uint8_t* from) {
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes_at(from)));
}

template <>
inline Floats weights_at<2>(const uint8_t* from) {
  const __m256i integers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(integers));
}

#ifdef __AVX512VBMI__

template <>
inline Floats weights_at<3>(const uint8_t* from) {
  // Moves the bytes of every weight to the upper bytes of an int32; the lowest byte becomes 0.
  const __m512i order = _mm512_set_epi8(47, 46, 45, 0, 44, 43, 42, 0, 41, 40, 39, 0, 38, 37, 36, 0, 35, 34, 33, 0, 32,
                                        31, 30, 0, 29, 28, 27, 0, 26, 25, 24, 0, 23, 22, 21, 0, 20, 19, 18, 0, 17, 16,
                                        15, 0, 14, 13, 12, 0, 11, 10, 9, 0, 8, 7, 6, 0, 5, 4, 3, 0, 2, 1, 0, 0);
  const __m512i bytes = _mm512_loadu_si512(from);
  return (Floats)_mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(0xEEEEEEEEEEEEEEEEull, order, bytes));
}

#else

template <>
inline Floats weights_at<3>(const uint8_t* from) {
  __m512i joined = _mm512_castsi128_si512(bytes_at(from));
  joined = _mm512_inserti32x4(joined, bytes_at(from + 12), 1);
  joined = _mm512_inserti32x4(joined, bytes_at(from + 24), 2);
  joined = _mm512_inserti32x4(joined, bytes_at(from + 36), 3);
  return (Floats)_mm512_cvtepi32_ps(_mm512_shuffle_epi8(joined, _mm512_broadcast_i32x4(three_to_four_bytes())));
}

#endif
#endif
#endif

}  // namespace
