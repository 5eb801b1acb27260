// What the tests of the kernels share: random numbers, memory without a byte to spare, the run of a task, and the
// comparisons. The first difference ends the program.
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
#include "kernels.h"
#include "near.h"

// Vectors hold exactly what they are asked for, so that AddressSanitizer sees a read or a write beyond.
using Floats = std::vector<float>;

constexpr float kNan{std::numeric_limits<float>::quiet_NaN()};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int below(int end) { return static_cast<int>(engine_() % static_cast<uint64_t>(end)); }
  // 24 random bits / 2^24, as the draw takes them.
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

// Sample b of values [..., batch, inner].
template <typename T>
std::vector<T> sample_of(const std::vector<T>& values, int batch, size_t inner, int b) {
  std::vector<T> taken;
  taken.reserve(values.size() / static_cast<size_t>(batch));
  for (size_t at = static_cast<size_t>(b) * inner; at < values.size(); at += static_cast<size_t>(batch) * inner)
    taken.insert(taken.end(), values.begin() + static_cast<std::ptrdiff_t>(at),
                 values.begin() + static_cast<std::ptrdiff_t>(at + inner));
  return taken;
}

// Packed weights, and no byte more than the kernels may read.
class Stored {
 public:
  Stored(const latentloop::Panels& panels, size_t count, size_t inputs, size_t panel) {
    const latentloop::Weights all = panels.view();
    bytes_ = all.bytes;
    const size_t size = count * inputs * panel * static_cast<size_t>(bytes_);
    packed_.assign(all.packed, all.packed + size);
    if (bytes_ == 3) packed_.insert(packed_.end(), latentloop::kPackedSlack, uint8_t{255});
    packed_.shrink_to_fit();
    if (bytes_ != 4) scale_.assign(all.scale, all.scale + count * panel);
  }
  latentloop::Weights view() const { return {packed_.data(), bytes_ == 4 ? nullptr : scale_.data(), bytes_}; }

 private:
  int bytes_;
  std::vector<uint8_t> packed_;
  Floats scale_;
};

// Weights [p, L, I, O], each below `most` in size. For one byte they are what the operators keep in one byte: multiples
// of a unit of their output's, up to 127 of them.
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

// How far a stored weight may lie from the true one, where the largest of its output's is `largest`: float32 and
// one byte hold it exactly (see random_weights), three bytes to half a step.
inline double stored_error(int bytes, double largest) { return bytes == 3 ? largest / 2 / ((1 << 23) - 1) : 0; }

// Runs all items of a task: in random order, for any may come first, and each on a thread of its own, for its working
// memory is then exactly as large as that item asked for.
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

// The comparisons of one kernel's test.
class Checks {
 public:
  explicit Checks(const char* kernel) : kernel_(kernel) {}
  Checks(const Checks&) = delete;
  ~Checks() { std::printf("%s: %d problems, worst share of the tolerance %.3f\n", kernel_, problems_, worst_); }

  // What is compared from here on: names and numbers.
  void problem(std::initializer_list<std::pair<const char*, int>> about) {
    ++problems_;
    about_.clear();
    for (const auto& [name, number] : about) about_ += std::string{" "} + name + " " + std::to_string(number);
  }

  void near(const char* output, const Floats& found, const std::vector<Near>& expected) {
    if (found.size() != expected.size()) fail(output, 0, "the sizes differ");
    for (size_t i = 0; i < found.size(); ++i) {
      const double share = std::fabs(found[i] - expected[i].value) / (expected[i].error + FLT_MIN);
      if (share > worst_) worst_ = share;
      if (share <= 1) continue;  // false for NaN
      char text[128];
      std::snprintf(text, sizeof text, "found %.9g, expected %.9g within %.3g", found[i], expected[i].value,
                    expected[i].error);
      fail(output, i, text);
    }
  }

  // The same bits.
  template <typename T>
  void same(const char* output, const std::vector<T>& found, const std::vector<T>& expected) {
    if (found.size() != expected.size()) fail(output, 0, "the sizes differ");
    for (size_t i = 0; i < found.size(); ++i) {
      if (std::memcmp(&found[i], &expected[i], sizeof(T)) == 0) continue;
      char text[128];
      std::snprintf(text, sizeof text, "found %.9g, in another batch %.9g", static_cast<double>(found[i]),
                    static_cast<double>(expected[i]));
      fail(output, i, text);
    }
  }

  void holds(const char* output, size_t index, bool condition, const char* text) {
    if (!condition) fail(output, index, text);
  }

 private:
  [[noreturn]] void fail(const char* output, size_t index, const char* text) {
    std::printf("%s:%s: %s[%zu]: %s\n", kernel_, about_.c_str(), output, index, text);
    std::exit(1);
  }

  const char* kernel_;
  std::string about_;
  int problems_{};
  double worst_{};
};
