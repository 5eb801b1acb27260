// Test of the kernel for the taps to the left (LeftTask).
#pragma once

#include "causal_conv/packing.h"
#include "error_bounds.h"
#include "problem.h"

struct LeftProblem {
  int taps, columns, layers, batch, inputs, outputs, bytes;
  bool gated;
  Floats x, above, weight;
  StoredWeights stored;

  LeftProblem(Random& random, int taps, int columns, int layers, int batch, int inputs, int outputs, int bytes,
              bool gated)
      : taps(taps),
        columns(columns),
        layers(layers),
        batch(batch),
        inputs(inputs),
        outputs(outputs),
        bytes(bytes),
        gated(gated),
        x(random.floats(product({taps + columns - 1, layers, batch, inputs}))),
        // Sometimes so large that the exponential saturates.
        above(random.floats(product({columns, layers, batch, outputs}), random.below(4) == 0 ? 120.0f : 2.0f)),
        weight(random_weights(random, taps, layers, inputs, outputs, bytes,
                              3 / std::sqrt(static_cast<float>(taps * inputs)))),
        stored(pack_left(weight.data(), taps, layers, inputs, outputs, gated, panel(), bytes),
               static_cast<size_t>(layers) * (gated ? 2 : 1) * panel_count(width(), panel()), product({taps, inputs}),
               panel()) {}

  int width() const { return gated ? outputs / 2 : outputs; }

  // The same problem with `above` NaN at output o of row (column, layer, sample).
  LeftProblem with_nan(int row, int o) const {
    LeftProblem changed = *this;
    changed.above[product({row, outputs}) + product({o})] = kNan;
    return changed;
  }

  LeftProblem sample(int b) const {
    LeftProblem alone = *this;
    alone.batch = 1;
    alone.x = sample_of(x, batch, product({inputs}), b);
    alone.above = sample_of(above, batch, product({outputs}), b);
    return alone;
  }

  Floats run_kernel(Random& random) const {
    Floats out(product({columns, layers, batch, width()}), kNan);
    const int split = random.below(taps + columns);  // the columns of x from here on are elsewhere
    const auto middle = x.begin() + static_cast<std::ptrdiff_t>(product({split, layers, batch, inputs}));
    const Floats first(x.begin(), middle), later(middle, x.end());
    LeftTask task{};
    task.x = first.data(), task.later = later.data(), task.split = split;
    task.above = above.data(), task.weights = stored.view(), task.out = out.data();
    task.taps = taps, task.columns = columns, task.layers = layers, task.batch = batch;
    task.inputs = inputs, task.outputs = outputs, task.gated = gated;
    PhaseList list;
    list.begin_phase();
    list.add(task);
    run(kernels(), list, random);
    return out;
  }

  BoundedValues expected() const {
    std::vector<double> error(product({layers, outputs}));
    for (size_t w = 0; w < weight.size(); ++w) {
      const size_t layer = w / product({inputs, outputs}) % product({layers});
      double& largest = error[layer * product({outputs}) + w % product({outputs})];
      largest = std::fmax(largest, std::fabs(weight[w]));
    }
    for (double& largest : error) largest = stored_error(bytes, largest);
    BoundedValues out;
    for (int column = 0; column < columns; ++column)
      for (int layer = 0; layer < layers; ++layer)
        for (int b = 0; b < batch; ++b)
          for (int o = 0; o < width(); ++o) {
            const Bounded value = sum(error, column, layer, b, o);
            out.push_back(gated ? value * sigmoid(sum(error, column, layer, b, o + width())) : elu(value));
          }
    return out;
  }

  Bounded sum(const std::vector<double>& error, int column, int layer, int b, int o) const {
    const double weight_error = error[product({layer, outputs}) + o];
    Sum sum;
    for (int tap = 0; tap < taps; ++tap) {
      const float* in = row_of(x, ((column + tap) * layers + layer) * batch + b, inputs);
      const float* column_weight = row_of(weight, (tap * layers + layer) * inputs, outputs) + o;
      for (int i = 0; i < inputs; ++i) sum.add({in[i]}, {column_weight[i * outputs], weight_error});
    }
    return sum.total() + Bounded{row_of(above, (column * layers + layer) * batch + b, outputs)[o]};
  }
};

inline void test_left(Random& random) {
  Checks checks("left");
  int turn = 0;
  for (const bool gated : {false, true})
    for (const int bytes : {4, 3, 1})
      for (const int batch : {1, 3, 40})
        for (const int columns : {1, 2})
          for (int size = 0; size < kSizes; ++size, ++turn) {
            const int inputs = kInputs[size], outputs = kOutputs[(size + turn / kSizes) % kSizes] * (gated ? 2 : 1);
            const LeftProblem problem(random, 1 + turn % 3, columns, 1 + turn % 2, batch, inputs, outputs, bytes,
                                      gated);
            checks.problem({{"gated", gated},
                            {"bytes", bytes},
                            {"taps", problem.taps},
                            {"columns", columns},
                            {"layers", problem.layers},
                            {"batch", batch},
                            {"inputs", inputs},
                            {"outputs", outputs}});
            const Floats out = problem.run_kernel(random);
            checks.within_bounds("out", out, problem.expected());
            const int b = random.below(batch);
            checks.bit_identical("out", sample_of(out, batch, product({problem.width()}), b),
                                 problem.sample(b).run_kernel(random));
            const int row = random.below(columns * problem.layers * batch), o = random.below(outputs);
            const Floats with_nan = problem.with_nan(row, o).run_kernel(random);
            const size_t at = product({row, problem.width()}) + product({o % problem.width()});
            for (size_t i = 0; i < out.size(); ++i)
              checks.holds("out", i, i == at ? std::isnan(with_nan[i]) : with_nan[i] == out[i],
                           "one NaN input must make one NaN output");
          }
}
