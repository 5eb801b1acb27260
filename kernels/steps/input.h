// The kernel of InputTask: the input stage at one column. One work item is a panel's width of channels of a sample.
#pragma once

#include "../gemm/microkernel.h"
#include "block_start.h"

namespace {

using latentloop::InputTask;

inline int input_parts(const InputTask& t) { return panels(t.channels); }

size_t input_items(const InputTask& t) { return static_cast<size_t>(t.batch) * input_parts(t); }

// Returns kNoSuchCode for a code that the table does not have.
latentloop::Outcome input(const InputTask& t, size_t item) {
  const int sample = static_cast<int>(item) / input_parts(t), first = static_cast<int>(item) % input_parts(t) * kPanel;
  const int width = t.channels - first < kPanel ? t.channels - first : kPanel;
  for (int tap = 0; tap < t.taps; ++tap)
    if (t.codes[tap][sample] < 0 || t.codes[tap][sample] >= t.table_codes) return latentloop::kNoSuchCode;
  float x[kPanel];
  for (int i = 0; i < width; i += kLanes) {
    const int live = part_of(width - i);
    Floats sum{};
    for (int tap = 0; tap < t.taps; ++tap) {
      const size_t row = static_cast<size_t>(tap) * t.table_codes + static_cast<size_t>(t.codes[tap][sample]);
      sum += load_part(t.table + row * t.channels + first + i, live);
    }
    store(x + i, sum + load_part(t.above + static_cast<size_t>(sample) * t.channels + first + i, live));
  }
  start_block(*t.next, x, sample, first, width);
  return latentloop::kComplete;
}

}  // namespace
