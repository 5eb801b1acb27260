// The kernel of DrawTask: the draw of one code per sample. One work item is one sample.
#pragma once

#include "../gemm/thread_scratch.h"
#include "input.h"

namespace {

using latentloop::DrawTask;

// Sorts `order` [count] by descending values[order[i]]; equal values keep their order. `merged` [count] is scratch
// memory. Merges runs of twice the length in every pass.
inline void sort_by_value(const float* values, int count, int* order, int* merged) {
  for (int run = 1; run < count; run *= 2) {
    for (int begin = 0; begin < count; begin += 2 * run) {
      const int middle = begin + run < count ? begin + run : count;
      const int end = middle + run < count ? middle + run : count;
      for (int a = begin, b = middle, to = begin; to < end; ++to)
        merged[to] = b == end || (a < middle && !(values[order[b]] > values[order[a]])) ? order[a++] : order[b++];
    }
    for (int i = 0; i < count; ++i) order[i] = merged[i];
  }
}

// Sets the mass of every code that does not pass the filters of a sample to 0. `order` [2 K] is scratch memory.
inline void filter(const DrawTask& t, size_t sample, const float* logits, float* mass, int* order) {
  for (int k = 0; k < t.codes; ++k) order[k] = k;
  sort_by_value(logits, t.codes, order, order + t.codes);
  float total = 0, before = 0;
  for (int rank = 0; rank < t.codes; ++rank) total += mass[order[rank]];
  for (int rank = 0; rank < t.codes; ++rank) {
    const float value = mass[order[rank]];
    const bool passes = rank < t.top_k[sample] && (before < t.top_p[sample] * total || t.top_p[sample] >= 1) &&
                        value >= t.min_p[sample];
    if (!passes && rank > 0) mass[order[rank]] *= 0;  // NaN stays NaN
    before += value;
  }
}

// Returns the first code whose cumulative probability exceeds `uniform`, or K if the logits are not finite numbers.
// `scratch` is memory for [K] floats and [2 K] integers. The probabilities are not normalised: their cumulative sums
// are compared with uniform * total.
inline int64_t draw_code(const DrawTask& t, size_t sample, float* scratch) {
  const int codes = t.codes;
  const float* logits = t.logits + sample * codes;
  const float temperature = t.temperature[sample];
  float* mass = scratch;
  for (int k = 0; k < codes; ++k) mass[k] = logits[k] / temperature;
  float largest = mass[0];
  for (int k = 1; k < codes; ++k) largest = mass[k] > largest ? mass[k] : largest;
  for (int k = 0; k < codes; k += kLanes) {
    const int live = part_of(codes - k);
    store_part(mass + k, exp(load_part(mass + k, live) - largest), live);
  }
  if (t.top_k) filter(t, sample, logits, mass, reinterpret_cast<int*>(mass + codes));
  for (int k = 1; k < codes; ++k) mass[k] += mass[k - 1];
  const float threshold =
      t.uniform[sample] * mass[codes - 1];  // `uniform` has 24 bits and is below 1, so the product is below the total
  int64_t below = 0;
  for (int k = 0; k < codes; ++k) below += !(mass[k] > threshold);
  return below;
}

size_t draw_items(const DrawTask& t) { return static_cast<size_t>(t.batch); }

latentloop::Outcome draw(const DrawTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  float* memory = scratch.at_least(3 * static_cast<size_t>(t.codes));
  if (memory == nullptr) return latentloop::kOutOfMemory;
  t.code[item] = t.forced[item] >= 0 ? t.forced[item] : draw_code(t, item, memory);
  if (t.next == nullptr) return latentloop::kComplete;
  const size_t parts = static_cast<size_t>(input_parts(*t.next));
  for (size_t part = 0; part < parts; ++part) {
    const latentloop::Outcome outcome = input(*t.next, item * parts + part);
    if (outcome != latentloop::kComplete) return outcome;
  }
  return latentloop::kComplete;
}

}  // namespace
