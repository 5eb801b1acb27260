// The kernel of DrawTask: the draw of one code per sample. One work item is one sample.
#pragma once

#include "../gemm/thread_scratch.h"
#include "input.h"

namespace {

using latentloop::DrawTask;

// Returns the first code whose cumulative probability exceeds `uniform`, or K if the logits are not finite numbers.
// `mass` [K] is scratch memory. The probabilities are not normalised: their cumulative sums are compared with
// uniform * total.
inline int64_t draw_code(const float* logits, float* mass, int codes, float uniform, float temperature) {
  for (int k = 0; k < codes; ++k) mass[k] = logits[k] / temperature;
  float largest = mass[0];
  for (int k = 1; k < codes; ++k) largest = mass[k] > largest ? mass[k] : largest;
  for (int k = 0; k < codes; k += kLanes) {
    const int live = part_of(codes - k);
    store_part(mass + k, exp(load_part(mass + k, live) - largest), live);
  }
  for (int k = 1; k < codes; ++k) mass[k] += mass[k - 1];
  const float threshold =
      uniform * mass[codes - 1];  // `uniform` has 24 bits and is below 1, so the product is below the total
  int64_t below = 0;
  for (int k = 0; k < codes; ++k) below += !(mass[k] > threshold);
  return below;
}

size_t draw_items(const DrawTask& t) { return static_cast<size_t>(t.batch); }

latentloop::Outcome draw(const DrawTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  float* mass = scratch.at_least(static_cast<size_t>(t.codes));
  if (mass == nullptr) return latentloop::kOutOfMemory;
  const int64_t drawn = draw_code(t.logits + item * t.codes, mass, t.codes, t.uniform[item], t.temperature[item]);
  t.code[item] = t.forced[item] >= 0 ? t.forced[item] : drawn;
  if (t.next == nullptr) return latentloop::kComplete;
  const size_t parts = static_cast<size_t>(input_parts(*t.next));
  for (size_t part = 0; part < parts; ++part) {
    const latentloop::Outcome outcome = input(*t.next, item * parts + part);
    if (outcome != latentloop::kComplete) return outcome;
  }
  return latentloop::kComplete;
}

}  // namespace
