// Test of the input stage at one column, from the draw of the code before it (InputTask, DrawTask).
#pragma once

#include <array>

#include "layers.h"

struct InputProblem {
  int batch, channels, codes, taps;
  Floats above, table, logits;
  std::vector<std::vector<int64_t>> earlier;  // codes of the taps before the last, [B]
  std::vector<int64_t> forced;                // that of the last tap

  struct Outputs {
    Floats sum, sum_elu;
    std::vector<int64_t> code;
    bool complete;
  };

  InputProblem(Random& random, int batch, int channels, int codes, int taps)
      : batch(batch),
        channels(channels),
        codes(codes),
        taps(taps),
        above(random.floats(product({batch, channels}))),
        table(random.floats(product({taps, codes + 1, channels}))),
        logits(random.floats(product({batch, codes}))) {
    for (int tap = 0; tap + 1 < taps; ++tap) {
      earlier.emplace_back();
      for (int b = 0; b < batch; ++b) earlier.back().push_back(random.below(codes + 1));  // K: no code
    }
    for (int b = 0; b < batch; ++b) forced.push_back(random.below(codes));
  }

  // `drawn`: the draw begins the input stage; otherwise a phase of its own computes it.
  Outputs run_kernel(Random& random, bool drawn) const {
    Outputs outputs{Floats(above.size(), kNan), Floats(above.size(), kNan), forced, false};
    const Floats uniform(product({batch}), 0.5f), temperature(product({batch}), 1.0f);
    PhaseList list;
    StepMemory memory;
    StepBuilder step(list, memory, batch, channels);
    BlockStart start = *step.result(outputs.sum.data());
    start.sum_elu = outputs.sum_elu.data();
    InputTask input = step.input(above.data(), &start);
    input.table = table.data(), input.table_codes = codes + 1, input.taps = taps;
    for (int tap = 0; tap + 1 < taps; ++tap) input.codes[tap] = earlier[static_cast<size_t>(tap)].data();
    input.codes[taps - 1] = outputs.code.data();
    if (drawn) {
      std::fill(outputs.code.begin(), outputs.code.end(), -2);
      DrawTask draw{};
      draw.logits = logits.data(), draw.uniform = uniform.data(), draw.temperature = temperature.data();
      draw.forced = forced.data(), draw.code = outputs.code.data(), draw.next = &input;
      draw.batch = batch, draw.codes = codes;
      step.phase(draw);
    } else {
      step.phase(input);
    }
    outputs.complete = run(kernels(), list, random);
    return outputs;
  }

  BoundedValues expected() const {
    BoundedValues out;
    for (int b = 0; b < batch; ++b)
      for (int c = 0; c < channels; ++c) {
        Sum sum;
        for (int tap = 0; tap < taps; ++tap) {
          const int64_t code = tap + 1 < taps ? earlier[static_cast<size_t>(tap)][static_cast<size_t>(b)]
                                              : forced[static_cast<size_t>(b)];
          sum.add({table[product({tap * (codes + 1) + static_cast<int>(code), channels}) + product({c})]}, {1});
        }
        out.push_back(sum.total() + Bounded{above[product({b, channels}) + product({c})]});
      }
    return out;
  }
};

inline void test_input(Random& random) {
  Checks checks("input");
  int turn = 0;
  for (const int batch : {1, 3, 13})
    for (const int taps : {1, 2, 3})
      for (const int channels : {1, 19, 100}) {
        const bool drawn = turn++ % 2 == 0;
        InputProblem problem(random, batch, channels, 1 + random.below(40), taps);
        checks.problem({{"batch", batch}, {"taps", taps}, {"channels", channels}, {"drawn", drawn}});
        const auto result = problem.run_kernel(random, drawn);
        checks.holds("outcome", 0, result.complete, "not complete");
        const BoundedValues expected = problem.expected();
        checks.within_bounds("sum", result.sum, expected);
        checks.within_bounds("sum_elu", result.sum_elu, elu(expected));
        for (int b = 0; b < batch; ++b)
          checks.holds("code", b, result.code[b] == problem.forced[b], "not the forced code");
        problem.forced[product({random.below(batch)})] = problem.codes + 1 + random.below(2) * (int64_t{1} << 40);
        checks.holds("outcome", 1, !problem.run_kernel(random, drawn).complete, "a code that does not exist");
      }
}
