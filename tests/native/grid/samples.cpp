// Small kernels that test the simulation: correct ones, and kernels with one fault each. They read z as [N] float32 and
// write `distance`.
#include "launch.h"
#include "nearest_codebook/cuda/device.h"

using namespace latentloop::nearest;

LATENTLOOP_DEVICE float value_of(const Arguments& a, int i) { return static_cast<const float*>(a.z)[i]; }

// ---- Correct kernels: the first two write the sum of each block's 64 values.

LATENTLOOP_KERNEL sum_by_barriers(const Arguments a) {
  LATENTLOOP_SHARED(float, sums, 64);
  const int t = thread_index();
  sums.set(t, value_of(a, t + 64 * static_cast<int>(block_x())));
  for (int step = 32; step > 0; step /= 2) {
    barrier();
    if (t < step) sums.set(t, sums.get(t) + sums.get(t + step));
  }
  if (t == 0) a.distance[block_x()] = sums.get(0);
}

LATENTLOOP_KERNEL sum_by_shuffles(const Arguments a) {
  LATENTLOOP_SHARED(float, halves, 2);
  const int t = thread_index();
  float sum = value_of(a, t + 64 * static_cast<int>(block_x()));
  for (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  if (t % 32 == 0) halves.set(t / 32, sum);
  barrier();
  if (t == 0) a.distance[block_x()] = halves.get(0) + halves.get(1);
}

LATENTLOOP_KERNEL order_of_threads(const Arguments a) {
  a.distance[a.invalid[0]] = static_cast<float>(64 * block_x() + thread_index());
  atomic_add(a.invalid, 1);
}

// distance [16, 8] += a * b. `codebook` holds a [16, 16], followed by b [16, 8], of 16-bit values.
template <typename T>
LATENTLOOP_DEVICE void multiply(const Arguments& arguments) {
  const uint16_t* from = static_cast<const uint16_t*>(arguments.codebook);
  const int lane = thread_index(), g = lane / 4, t = lane % 4;
  const auto pair = [](uint16_t low, uint16_t high) { return low | uint32_t{high} << 16; };
  uint32_t a[4], b[2];
  float c[4];
  for (int r = 0; r < 4; ++r) {
    const uint16_t* row = from + (g + r % 2 * 8) * 16 + 2 * t + r / 2 * 8;
    a[r] = pair(row[0], row[1]);
    c[r] = arguments.distance[(g + r / 2 * 8) * 8 + 2 * t + r % 2];
  }
  for (int r = 0; r < 2; ++r) {
    const uint16_t* rows = from + 16 * 16 + (2 * t + r * 8) * 8 + g;
    b[r] = pair(rows[0], rows[8]);
  }
  multiply_matrices(T(0.0f), a, b, c);
  for (int r = 0; r < 4; ++r) arguments.distance[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = c[r];
}
LATENTLOOP_KERNEL product_of_f16(const Arguments a) { multiply<Half>(a); }
LATENTLOOP_KERNEL product_of_bf16(const Arguments a) { multiply<Bfloat>(a); }

LATENTLOOP_KERNEL widen_f16(const Arguments a) {
  a.distance[thread_index()] = widen(static_cast<const Half*>(a.codebook)[thread_index()]);
}

// ---- Faulty kernels.

LATENTLOOP_KERNEL two_writers(const Arguments) {
  LATENTLOOP_SHARED(float, sums, 32);
  sums.set(thread_index() % 32, 1);
}

LATENTLOOP_KERNEL reader_and_writer(const Arguments) {
  LATENTLOOP_SHARED(float, sums, 64);
  sums.set(thread_index(), 1);
  barrier();
  sums.set(thread_index(), sums.get((thread_index() + 1) % 64));
}

LATENTLOOP_KERNEL read_unwritten(const Arguments a) {
  LATENTLOOP_SHARED(float, sums, 64);
  a.distance[thread_index()] = sums.get(7);
}

// Shared memory does not keep values of the previous block.
LATENTLOOP_KERNEL read_of_another_block(const Arguments a) {
  LATENTLOOP_SHARED(float, sums, 64);
  if (block_x() == a.vectors) sums.set(thread_index(), 1);
  a.distance[thread_index()] = sums.get(thread_index());
}

LATENTLOOP_KERNEL beyond_the_end(const Arguments) {
  LATENTLOOP_SHARED(float, sums, 64);
  sums.set(thread_index() + 1, 1);
}

LATENTLOOP_KERNEL unaligned_shared(const Arguments) {
  LATENTLOOP_SHARED(float, sums, 64);
  if (thread_index() == 5) sums.set_sixteen(2, {{1, 2, 3, 4}});
}

LATENTLOOP_KERNEL unaligned_global(const Arguments a) {
  a.distance[thread_index()] = load_sixteen(static_cast<const float*>(a.z) + 1).at[0];
}

LATENTLOOP_KERNEL too_much_shared(const Arguments) {
  LATENTLOOP_SHARED(float, most, 12 * 1024);
  LATENTLOOP_SHARED(float, more, 1);
  (void)most, (void)more;
}

LATENTLOOP_KERNEL barrier_not_for_all(const Arguments) {
  if (thread_index() != 40) barrier();
}

LATENTLOOP_KERNEL two_barriers(const Arguments) {
  if (thread_index() < 32)
    barrier();
  else
    barrier();
}

LATENTLOOP_KERNEL shuffle_not_for_all(const Arguments a) {
  if (thread_index() != 3) a.distance[thread_index()] = shuffle_xor(1.0f, 1);
}

LATENTLOOP_KERNEL shuffle_and_barrier(const Arguments a) {
  if (thread_index() != 3) a.distance[thread_index()] = shuffle_xor(1.0f, 1);
  barrier();
}

LATENTLOOP_KERNEL two_shuffles(const Arguments a) {
  if (thread_index() % 2 == 0)
    a.distance[thread_index()] = shuffle_xor(1.0f, 2);
  else
    a.distance[thread_index()] = shuffle_xor(2.0f, 2);
}

LATENTLOOP_KERNEL shuffle_beyond_the_warp(const Arguments a) { a.distance[thread_index()] = shuffle_xor(1.0f, 32); }

LATENTLOOP_KERNEL product_not_for_all(const Arguments) {
  const uint32_t a[4]{}, b[2]{};
  float c[4]{};
  if (thread_index() != 63) multiply_matrices(Half(0.0f), a, b, c);
}

LATENTLOOP_KERNEL largest_of_negative(const Arguments a) { atomic_largest(a.distance, -1); }

extern "C" int latentloop_grid_launch(const char* kernel, int64_t grid_x, int grid_y, int threads,
                                      const void* arguments, uint64_t seed, char* error, size_t error_size) {
  static const latentloop::grid::Kernels kernels{
      LATENTLOOP_NAMED(sum_by_barriers),     LATENTLOOP_NAMED(sum_by_shuffles),
      LATENTLOOP_NAMED(order_of_threads),    LATENTLOOP_NAMED(product_of_f16),
      LATENTLOOP_NAMED(product_of_bf16),     LATENTLOOP_NAMED(widen_f16),
      LATENTLOOP_NAMED(two_writers),         LATENTLOOP_NAMED(reader_and_writer),
      LATENTLOOP_NAMED(read_unwritten),      LATENTLOOP_NAMED(read_of_another_block),
      LATENTLOOP_NAMED(beyond_the_end),      LATENTLOOP_NAMED(unaligned_shared),
      LATENTLOOP_NAMED(unaligned_global),    LATENTLOOP_NAMED(too_much_shared),
      LATENTLOOP_NAMED(barrier_not_for_all), LATENTLOOP_NAMED(two_barriers),
      LATENTLOOP_NAMED(shuffle_not_for_all), LATENTLOOP_NAMED(shuffle_and_barrier),
      LATENTLOOP_NAMED(two_shuffles),        LATENTLOOP_NAMED(shuffle_beyond_the_warp),
      LATENTLOOP_NAMED(product_not_for_all), LATENTLOOP_NAMED(largest_of_negative),
  };
  return latentloop::grid::launch(kernels, kernel, grid_x, grid_y, threads, arguments, seed, error, error_size);
}
