// The device operations that the kernels use. Under nvcc they are CUDA's. Other compilers include "grid.h" instead
// (from tests/native/grid, by the include path), which simulates them on the CPU and checks their use.
//
// The simulation requires uniform control flow: all threads of a block reach the same barriers, and all lanes of a warp
// the same shuffles and matrix products.
#pragma once

#include <stdint.h>

#include "../arguments.h"

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define LATENTLOOP_KERNEL extern "C" __global__ void __launch_bounds__(256)
#define LATENTLOOP_DEVICE __device__ __forceinline__
#define LATENTLOOP_UNROLL _Pragma("unroll")
// Declares the array `name` in the block's shared memory.
#define LATENTLOOP_SHARED(T, name, count)  \
  __shared__ alignas(16) T name##_[count]; \
  const ::latentloop::nearest::Shared<T> name { name##_ }

namespace latentloop::nearest {

using Half = __half;
using Bfloat = __nv_bfloat16;

LATENTLOOP_DEVICE float widen(float x) { return x; }
LATENTLOOP_DEVICE float widen(Half x) { return __half2float(x); }
LATENTLOOP_DEVICE float widen(Bfloat x) { return __bfloat162float(x); }

// 16 bytes of T, which one instruction loads or stores.
template <typename T>
struct alignas(16) Sixteen {
  T at[16 / sizeof(T)];
};

// `from` must be aligned to 16 bytes.
template <typename T>
LATENTLOOP_DEVICE Sixteen<T> load_sixteen(const T* from) {
  return *reinterpret_cast<const Sixteen<T>*>(from);
}

template <typename T>
class Shared {
 public:
  LATENTLOOP_DEVICE explicit Shared(T* memory) : memory_(memory) {}
  LATENTLOOP_DEVICE T get(int i) const { return memory_[i]; }
  LATENTLOOP_DEVICE void set(int i, T value) const { memory_[i] = value; }
  // 16 bytes that begin at element i, whose offset must be a multiple of 16 bytes.
  LATENTLOOP_DEVICE Sixteen<T> get_sixteen(int i) const { return load_sixteen(memory_ + i); }
  LATENTLOOP_DEVICE void set_sixteen(int i, Sixteen<T> value) const {
    *reinterpret_cast<Sixteen<T>*>(memory_ + i) = value;
  }

 private:
  T* memory_;
};

LATENTLOOP_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
LATENTLOOP_DEVICE int64_t block_x() { return blockIdx.x; }
LATENTLOOP_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }

LATENTLOOP_DEVICE void barrier() { __syncthreads(); }
LATENTLOOP_DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
LATENTLOOP_DEVICE int shuffle_xor(int value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

LATENTLOOP_DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
LATENTLOOP_DEVICE bool is_finite(float x) { return isfinite(x); }
LATENTLOOP_DEVICE float infinity() { return __int_as_float(0x7f800000); }
LATENTLOOP_DEVICE float not_a_number() { return __int_as_float(0x7fc00000); }

LATENTLOOP_DEVICE void atomic_add(int32_t* to, int32_t value) { atomicAdd(to, value); }
// For non-negative values, whose bit patterns as integers have the same order.
LATENTLOOP_DEVICE void atomic_largest(float* to, float value) {
  atomicMax(reinterpret_cast<int*>(to), __float_as_int(value));
}

// c [16, 8] += a [16, 16] * b [16, 8], computed by a warp, with the fragments of mma.m16n8k16. Lane 4 g + t holds the
// pairs (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8) of a, the pairs (2t, g), (2t + 8, g) of b, and the elements
// (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1) of c. A pair is one 32-bit word, with its first element in the
// lower half.
LATENTLOOP_DEVICE void multiply_matrices(Half, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
LATENTLOOP_DEVICE void multiply_matrices(Bfloat, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace latentloop::nearest

#else
#include "grid.h"
#endif
