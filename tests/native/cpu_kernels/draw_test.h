// Test of the logits and the draw of codes (DrawTask).
#pragma once

#include <algorithm>
#include <array>

#include "layers.h"

struct DrawProblem {
  int batch, channels, codes;
  Floats x, uniform, temperature;
  std::vector<int64_t> forced;
  DenseLayer logits;

  struct Outputs {
    std::vector<int64_t> code;
    Floats out;
  };

  DrawProblem(Random& random, int batch, int channels, int codes, int bytes)
      : batch(batch),
        channels(channels),
        codes(codes),
        x(random.floats(product({batch, channels}), 4)),
        logits(random, channels, codes, bytes) {
    for (int b = 0; b < batch; ++b) {
      constexpr float kAlmostOne{1 - FLT_EPSILON / 2};
      const int kind = random.below(5);
      uniform.push_back(kind == 0 ? 0 : kind == 1 ? kAlmostOne : random.uniform());
      temperature.push_back(std::array{1.0f, 1.0f, 0.1f, 0.7f, 3.0f}[random.below(5)]);
      forced.push_back(random.below(4) == 0 ? random.below(codes) : -1);
    }
  }

  DrawProblem sample(int b) const {
    DrawProblem alone = *this;
    alone.batch = 1;
    alone.x = sample_of(x, batch, product({channels}), b);
    alone.uniform = {uniform[b]};
    alone.temperature = {temperature[b]};
    alone.forced = {forced[b]};
    return alone;
  }

  Outputs run_kernel(Random& random) const {
    Outputs outputs{std::vector<int64_t>(product({batch}), -2), Floats(product({batch, codes}), kNan)};
    PhaseList list;
    StepMemory memory;
    StepBuilder step(list, memory, batch, channels);
    const BlockStart* start = step.output_start();
    step.phase(step.input(x.data(), start));
    step.logits(logits.view(), start, outputs.out.data());
    DrawTask draw{};
    draw.logits = outputs.out.data(), draw.uniform = uniform.data(), draw.temperature = temperature.data();
    draw.forced = forced.data(), draw.code = outputs.code.data(), draw.batch = batch, draw.codes = codes;
    step.phase(draw);
    run(kernels(), list, random);
    return outputs;
  }

  BoundedValues expected() const {
    BoundedValues out;
    for (int b = 0; b < batch; ++b) append(out, logits(elu(exact(x, product({b, channels}), channels))));
    return out;
  }

  // Returns whether `code` is a valid draw of sample b from these logits: the cumulative sums before and after it
  // enclose uniform * total, within rounding. Errors come from the exponentials, the rounding of their arguments, and
  // the sum.
  bool can_draw(const float* row, int b, int64_t code) const {
    std::vector<double> scaled, below;
    for (int k = 0; k < codes; ++k) scaled.push_back(static_cast<double>(row[k]) / temperature[b]);
    const double largest = *std::max_element(scaled.begin(), scaled.end());
    double total = 0, argument = 0;
    for (const double value : scaled) {
      below.push_back(total);
      total += std::exp(value - largest);
      argument = std::fmax(argument, std::fabs(value) + std::fabs(value - largest));
    }
    below.push_back(total);
    const double error = total * (kExp + kRounding * (2 * argument + 4 + std::sqrt(codes)));
    const double threshold = uniform[b] * total;
    return code >= 0 && code < codes && below[code] <= threshold + error && threshold - error < below[code + 1];
  }
};

inline void test_draw(Random& random) {
  Checks checks("draw");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int codes : {1, 2, 11, 100, 512}) {
        const int channels = std::array{1, 5, 19, 33}[turn++ % 4];
        const DrawProblem problem(random, batch, channels, codes, bytes);
        checks.problem({{"bytes", bytes}, {"batch", batch}, {"channels", channels}, {"codes", codes}});
        const auto result = problem.run_kernel(random);
        checks.within_bounds("logits", result.out, problem.expected());
        for (int b = 0; b < batch; ++b) {
          const int64_t forced = problem.forced[b], code = result.code[b];
          checks.holds("code", b, forced < 0 || code == forced, "not the forced code");
          checks.holds("code", b, forced >= 0 || problem.can_draw(result.out.data() + product({b, codes}), b, code),
                       "not a valid draw");
          // Every code has a probability above 0.
          checks.holds("code", b, forced >= 0 || problem.uniform[b] > 0 || code == 0, "uniform 0 must draw code 0");
        }
        const int b = random.below(batch);
        const auto alone = problem.sample(b).run_kernel(random);
        checks.bit_identical("logits", sample_of(result.out, batch, product({codes}), b), alone.out);
        checks.bit_identical("code", sample_of(result.code, batch, 1, b), alone.code);
      }
}
