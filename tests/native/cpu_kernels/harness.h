// Shared by the kernel tests: random numbers, exactly sized memory, the execution of a task, and comparisons. The first
// failed comparison ends the program with status 1.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "causal_conv/packing.h"
#include "error_bounds.h"
#include "kernels.h"
#include "steps/builder.h"

// Exactly sized, so that AddressSanitizer detects accesses beyond the end.
using Floats = std::vector<float>;

constexpr float kNan{std::numeric_limits<float>::quiet_NaN()};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int below(int end) { return static_cast<int>(engine_() % static_cast<uint64_t>(end)); }
  // 24 random bits / 2^24, as for the draw of a code.
  float uniform() { return std::ldexp(static_cast<float>(engine_() >> 40), -24); }
  float within(float most) { return (2 * uniform() - 1) * most; }
  Floats floats(size_t count, float most = 1) {
    Floats values(count);
    for (float& value : values) value = within(most);
    return values;
  }
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (size_t left = values.size(); left > 1; --left)
      std::swap(values[left - 1], values[static_cast<size_t>(below(static_cast<int>(left)))]);
  }

 private:
  std::mt19937_64 engine_;
};

// Returns sample b of values [..., batch, inner].
template <typename T>
std::vector<T> sample_of(const std::vector<T>& values, int batch, size_t inner, int b) {
  std::vector<T> sample;
  sample.reserve(values.size() / static_cast<size_t>(batch));
  for (size_t at = static_cast<size_t>(b) * inner; at < values.size(); at += static_cast<size_t>(batch) * inner)
    sample.insert(sample.end(), values.begin() + static_cast<std::ptrdiff_t>(at),
                  values.begin() + static_cast<std::ptrdiff_t>(at + inner));
  return sample;
}

// Packed weights without a byte more than the kernels may read.
class StoredWeights {
 public:
  StoredWeights(const latentloop::Panels& panels, size_t count, size_t inputs, size_t panel) {
    const latentloop::Weights weights = panels.view();
    bytes_ = weights.bytes;
    const size_t size = count * inputs * panel * static_cast<size_t>(bytes_);
    packed_.assign(weights.packed, weights.packed + size);
    if (bytes_ == 3) packed_.insert(packed_.end(), latentloop::kPackedSlack, uint8_t{255});
    packed_.shrink_to_fit();
    if (bytes_ != 4) scale_.assign(weights.scale, weights.scale + count * panel);
  }
  latentloop::Weights view() const { return {packed_.data(), bytes_ == 4 ? nullptr : scale_.data(), bytes_}; }

 private:
  int bytes_;
  std::vector<uint8_t> packed_;
  Floats scale_;
};

// Returns weights [p, L, I, O] of magnitude up to `most`. If bytes is 1, they are values that one byte stores exactly:
// multiples of their output's unit, up to 127.
inline Floats random_weights(Random& random, int taps, int layers, int inputs, int outputs, int bytes, float most) {
  const auto count = [](int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); };
  Floats weights = random.floats(count(taps * layers, inputs * outputs), most);
  if (bytes != 1) return weights;
  const Floats units = random.floats(count(layers, outputs), most / 127);
  const size_t per_tap = weights.size() / static_cast<size_t>(taps);
  for (size_t w = 0; w < weights.size(); ++w) {
    const size_t layer = w % per_tap / count(inputs, outputs), output = w % static_cast<size_t>(outputs);
    const bool first = w < per_tap && w % count(inputs, outputs) < static_cast<size_t>(outputs);
    const int steps = first ? 127 : random.below(255) - 127;
    weights[w] = static_cast<float>(steps) * units[layer * static_cast<size_t>(outputs) + output];
  }
  return weights;
}

// Returns the error of a stored weight, if the largest weight of its output is `largest`. float32 and one byte are
// exact (see random_weights); three bytes round to the nearest unit.
inline double stored_error(int bytes, double largest) { return bytes == 3 ? largest / 2 / ((1 << 23) - 1) : 0; }

// Runs all items of a task, in random order. Each runs on a new thread, so that its scratch memory has exactly the size
// that the item requests.
template <typename Task>
void run(const latentloop::Kernel<Task>& kernel, const Task& task, Random& random) {
  std::vector<size_t> items(kernel.items(task));
  std::iota(items.begin(), items.end(), size_t{0});
  random.shuffle(items);
  for (const size_t item : items) {
    bool complete = false;
    std::thread([&] { complete = kernel.run(task, item); }).join();
    if (!complete) std::printf("out of memory\n"), std::exit(2);
  }
}

// Runs all items of a list, phase by phase, those of a phase in random order. Returns whether every item was complete.
inline bool run(const latentloop::Kernels& kernels, const latentloop::PhaseList& list, Random& random) {
  bool complete = true;
  for (size_t phase = 0; phase < list.phases(); ++phase) {
    std::vector<std::pair<const latentloop::Task*, size_t>> items;
    for (const latentloop::Task* task = list.begin(phase); task != list.end(phase); ++task)
      for (size_t item = 0; item < kernels.step_items(*task); ++item) items.emplace_back(task, item);
    random.shuffle(items);
    for (const auto& [task, item] : items)
      std::thread([&, task = task, item = item] {
        complete = kernels.step_item(*task, item) == latentloop::kComplete && complete;
      }).join();
  }
  return complete;
}

// Comparisons of one kernel's results.
class Checks {
 public:
  explicit Checks(const char* kernel) : kernel_(kernel) {}
  Checks(const Checks&) = delete;
  ~Checks() { std::printf("%s: %d problems, worst share of the tolerance %.3f\n", kernel_, problems_, worst_); }

  // Begins a new problem, which messages describe by these names and numbers.
  void problem(std::initializer_list<std::pair<const char*, int>> parameters) {
    ++problems_;
    description_.clear();
    for (const auto& [name, number] : parameters)
      description_ += std::string{" "} + name + " " + std::to_string(number);
  }

  void within_bounds(const char* output, const Floats& result, const BoundedValues& expected) {
    if (result.size() != expected.size()) fail(output, 0, "the sizes differ");
    for (size_t i = 0; i < result.size(); ++i) {
      const double share = std::fabs(result[i] - expected[i].value) / (expected[i].error + FLT_MIN);
      if (share > worst_) worst_ = share;
      if (share <= 1) continue;  // false for NaN
      char text[128];
      std::snprintf(text, sizeof text, "result %.9g, expected %.9g within %.3g", result[i], expected[i].value,
                    expected[i].error);
      fail(output, i, text);
    }
  }

  // `alone` is the result of the same sample in a batch of its own.
  template <typename T>
  void bit_identical(const char* output, const std::vector<T>& result, const std::vector<T>& alone) {
    if (result.size() != alone.size()) fail(output, 0, "the sizes differ");
    for (size_t i = 0; i < result.size(); ++i) {
      if (std::memcmp(&result[i], &alone[i], sizeof(T)) == 0) continue;
      char text[128];
      std::snprintf(text, sizeof text, "in a batch %.9g, alone %.9g", static_cast<double>(result[i]),
                    static_cast<double>(alone[i]));
      fail(output, i, text);
    }
  }

  void holds(const char* output, size_t index, bool condition, const char* text) {
    if (!condition) fail(output, index, text);
  }

 private:
  [[noreturn]] void fail(const char* output, size_t index, const char* text) {
    std::printf("%s:%s: %s[%zu]: %s\n", kernel_, description_.c_str(), output, index, text);
    std::exit(1);
  }

  const char* kernel_;
  std::string description_;
  int problems_{};
  double worst_{};
};
