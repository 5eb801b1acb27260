// Test of all blocks of a prior without attention at one column.
#pragma once

#include "layers.h"

struct ResidualBlocksProblem {
  int blocks, layers, batch, channels;  // `layers` per block
  bool inplace;
  Floats x, gated, mix_above;
  std::vector<DenseLayer> convs;

  struct Outputs {
    Floats out, activated;
  };

  ResidualBlocksProblem(Random& random, int blocks, int layers, int batch, int channels, int bytes, bool inplace)
      : blocks(blocks),
        layers(layers),
        batch(batch),
        channels(channels),
        inplace(inplace),
        x(random.floats(product({batch, channels}))),
        gated(random.floats(product({blocks, layers, batch, channels}))),
        mix_above(random.floats(product({blocks, channels}))) {
    for (int b = 0; b < blocks; ++b) convs.emplace_back(random, channels, channels, bytes, false);
  }

  ResidualBlocksProblem sample(int b) const {
    ResidualBlocksProblem alone = *this;
    alone.batch = 1;
    alone.x = sample_of(x, batch, product({channels}), b);
    alone.gated = sample_of(gated, batch, product({channels}), b);
    return alone;
  }

  Outputs run_kernel(Random& random) const {
    Outputs outputs{Floats(x.size(), kNan), Floats(gated.size(), kNan)};
    const size_t block = product({layers, batch, channels});
    PhaseList list;
    StepMemory memory;
    StepBuilder step(list, memory, batch, channels);
    const auto start_of = [&](size_t index) {
      return step.mix_start({gated.data() + index * block, outputs.activated.data() + index * block, layers, inplace});
    };
    const BlockStart* start = start_of(0);
    step.phase(step.input(x.data(), start));
    for (size_t index = 0; index < convs.size(); ++index) {
      const BlockStart* next = index + 1 < convs.size() ? start_of(index + 1) : step.result(outputs.out.data());
      Dense conv = convs[index].view();
      conv.bias = mix_above.data() + index * product({channels});
      step.mix(conv, start, next);
      start = next;
    }
    run(kernels(), list, random);
    return outputs;
  }

  // Returns out and activated.
  std::pair<BoundedValues, BoundedValues> expected() const {
    std::vector<BoundedValues> out, activated;
    for (int b = 0; b < batch; ++b) {
      BoundedValues value = exact(x, product({b, channels}), channels), inputs;
      for (int block = 0; block < blocks; ++block) {
        add_layers(value, gated, block * layers, layers, batch, channels, b, inputs, inplace);
        value = convs[block](value);
        add(value, exact(mix_above, product({block, channels}), channels));
      }
      out.push_back(value);
      activated.push_back(inputs);
    }
    return {joined(out, channels), joined(activated, channels)};
  }
};

inline void test_residual_blocks(Random& random) {
  Checks checks("residual_blocks");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int blocks : {1, 3}) {
        const int channels = kOutputs[turn % kSizes], layers = 1 + turn % 3;
        const bool inplace = turn / 3 % 2 == 1;
        ++turn;
        const ResidualBlocksProblem problem(random, blocks, layers, batch, channels, bytes, inplace);
        checks.problem({{"bytes", bytes},
                        {"blocks", blocks},
                        {"layers per block", layers},
                        {"batch", batch},
                        {"channels", channels},
                        {"in place", inplace}});
        const auto result = problem.run_kernel(random);
        const auto [out, activated] = problem.expected();
        checks.within_bounds("out", result.out, out);
        checks.within_bounds("activated", result.activated, activated);
        const int b = random.below(batch);
        const auto alone = problem.sample(b).run_kernel(random);
        checks.bit_identical("out", sample_of(result.out, batch, product({channels}), b), alone.out);
        checks.bit_identical("activated", sample_of(result.activated, batch, product({channels}), b), alone.activated);
      }
}
