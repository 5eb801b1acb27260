// An estimate of how long a task takes on one core, to decide whether a step is worth a second one.
#pragma once

#include <algorithm>

#include "list.h"

namespace latentloop {

// In microseconds, of a core that reads 20 GB/s and computes 60 GFLOP/s. The draws are left out: they do not profit
// from threads unless there are many samples.
inline double estimated_time(const Task& task) {
  constexpr double kBytes{20e3}, kFlops{60e3};  // per microsecond
  const auto time = [](double weights, int bytes, double samples) {
    return std::max(weights * bytes / kBytes, 2 * weights * samples / kFlops);
  };
  switch (task.kind) {
    case Task::kLeft: {
      const LeftTask& t = task.left;
      const double weights = 1.0 * t.taps * t.layers * t.inputs * t.outputs;
      return time(weights, t.weights.bytes, 1.0 * t.batch * t.columns);
    }
    case Task::kProduct: {
      const ProductTask& t = task.product;
      const double weights = 1.0 * t.layer.inputs * t.layer.outputs + 1.0 * t.auxiliary.inputs * t.auxiliary.outputs;
      return time(weights, t.layer.weights.bytes, t.batch);
    }
    case Task::kAttend: {
      const AttendTask& t = task.attend;
      const double values = 2.0 * t.batch * t.heads * t.head_width * t.width * t.entries;  // keys and values
      return values * sizeof(float) / kBytes;
    }
    default:
      return 0;
  }
}

inline double estimated_time(const PhaseList& list) {
  double sum = 0;
  for (size_t phase = 0; phase < list.phases(); ++phase)
    for (const Task* task = list.begin(phase); task != list.end(phase); ++task) sum += estimated_time(*task);
  return sum;
}

// Whether threads save more than they cost: waking them, and waiting for each other after every phase.
inline bool is_worth_threads(const PhaseList& list) {
  constexpr double kWake{10}, kPhase{0.7};  // microseconds
  return estimated_time(list) / 2 > kWake + kPhase * static_cast<double>(list.phases());
}

}  // namespace latentloop
