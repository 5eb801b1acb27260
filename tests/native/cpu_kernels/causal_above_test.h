// Test of the kernel for the rows above (AboveTask).
#pragma once

#include <algorithm>

#include "causal_conv/packing.h"
#include "error_bounds.h"
#include "problem.h"

// Returns the factor by which the Cook-Toom transform along the columns, and the one across pairs of rows, amplify
// rounding errors. Kernel 9 has the direct form.
inline double amplification(int kernel, bool pairs) { return (kernel == 9 ? 1 : 12) * (pairs ? 2 : 1); }

struct AboveProblem {
  int kernel, width, layers, batch, inputs, outputs, bytes;
  bool pairs;
  CookToom form;
  RowGroups row_groups;
  std::vector<Floats> rows;  // the k - 1 rows above; for pairs of rows of outputs, k rows
  Floats bias;
  std::vector<Floats> weights;        // per layer [k (k - 1) I, O]
  std::vector<StoredWeights> stored;  // one element

  AboveProblem(Random& random, int kernel, int width, int layers, int batch, int inputs, int outputs, int bytes,
               bool pairs)
      : kernel(kernel),
        width(width),
        layers(layers),
        batch(batch),
        inputs(inputs),
        outputs(outputs),
        bytes(bytes),
        pairs(pairs),
        form(static_cast<size_t>(kernel)),
        row_groups(pairs ? RowGroups::pairs() : RowGroups::single(static_cast<size_t>(kernel))),
        bias(random.floats(product({layers, outputs}))) {
    for (int row = 0; row < kernel - 1 + pairs; ++row)
      rows.push_back(random.floats(product({width + kernel - 1, layers, batch, inputs})));
    const size_t per_layer = panel_count(product({outputs}), panel()) * form.points;
    Panels packed(product({layers}) * per_layer, row_groups.taps.size() * product({inputs}), panel(), bytes);
    for (int layer = 0; layer < layers; ++layer) {
      weights.push_back(random.floats(product({kernel, kernel - 1, inputs, outputs})));
      pack_above(weights.back().data(), form, row_groups, product({inputs}), product({outputs}), panel(),
                 product({layer}) * per_layer, packed);
    }
    stored.emplace_back(packed, product({layers}) * per_layer, row_groups.taps.size() * product({inputs}), panel());
  }

  AboveProblem sample(int b) const {
    AboveProblem alone = *this;
    alone.batch = 1;
    for (Floats& row : alone.rows) row = sample_of(row, batch, product({inputs}), b);
    return alone;
  }

  // The outputs: one row, or the two rows of a pair.
  std::vector<Floats> run_kernel(Random& random) const {
    const size_t count = product({width, layers, batch, outputs});
    AboveTask task{};
    std::vector<const float*> pointers;
    for (int row = 0; row < kernel - 1; ++row) pointers.push_back(rows[row].data());
    task.rows = pointers.data();
    task.weights = stored[0].view();
    task.bias = bias.data();
    task.groups = row_groups.groups.data();
    task.group_count = task.packed_groups = static_cast<int>(row_groups.groups.size());
    task.kernel = kernel, task.tile = static_cast<int>(form.tile), task.width = width;
    task.layers = layers, task.batch = batch, task.inputs = inputs, task.outputs = outputs;
    task.inputs_transform = form.inputs.data();
    task.outputs_transform = form.outputs.data();
    std::vector<Floats> out{Floats(count, kNan)};
    task.out = out[0].data();
    Floats partial(pairs ? count : 0, kNan);
    if (pairs) task.next_partial = partial.data();
    run(kernels().above, task, random);
    if (!pairs) return out;
    // The second row of the pair reads only its nearest row.
    std::fill(pointers.begin(), pointers.end(), nullptr);
    pointers.back() = rows.back().data();
    task.partial = partial.data();
    task.next_partial = nullptr;
    task.groups += RowGroups::kLast;
    task.group_count = 1;
    out.emplace_back(count, kNan);
    task.out = out[1].data();
    run(kernels().above, task, random);
    return out;
  }

  // The direct form in float64. `row`: 0, or 1 for the second row of a pair.
  //
  // The bound of rounding errors is proportional to sum |x| max |w|. Weights of two bytes have an independent error of
  // up to 2^-16 of the largest weight each; the factor 6 is six standard deviations of their sum.
  BoundedValues expected(int row) const {
    const double factor = amplification(kernel, pairs);
    BoundedValues out;
    for (int column = 0; column < width; ++column)
      for (int layer = 0; layer < layers; ++layer)
        for (int b = 0; b < batch; ++b)
          for (int o = 0; o < outputs; ++o) {
            double sum = bias[product({layer, outputs}) + o], size = 0, squares = 0, largest = 0;
            for (int tap = 0; tap < kernel; ++tap)
              for (int a = 0; a < kernel - 1; ++a) {
                const float* in = row_of(rows[a + row], ((column + tap) * layers + layer) * batch + b, inputs);
                const float* weight = row_of(weights[layer], (tap * (kernel - 1) + a) * inputs, outputs) + o;
                for (int i = 0; i < inputs; ++i, weight += outputs) {
                  sum += static_cast<double>(in[i]) * *weight;
                  size += std::fabs(in[i]);
                  squares += static_cast<double>(in[i]) * in[i];
                  largest = std::fmax(largest, std::fabs(*weight));
                }
              }
            const double stored = bytes == 2 ? std::sqrt(squares / 3) * std::ldexp(1.0, -16) * 6 : 0;
            out.push_back({sum, factor * largest * (kRounding * size + stored) + kRounding});
          }
    return out;
  }
};

inline void check_above(Checks& checks, const AboveProblem& problem, Random& random) {
  checks.problem({{"kernel", problem.kernel},
                  {"pairs", problem.pairs},
                  {"bytes", problem.bytes},
                  {"width", problem.width},
                  {"layers", problem.layers},
                  {"batch", problem.batch},
                  {"inputs", problem.inputs},
                  {"outputs", problem.outputs}});
  const std::vector<Floats> out = problem.run_kernel(random);
  const int b = random.below(problem.batch);
  const std::vector<Floats> alone = problem.sample(b).run_kernel(random);
  for (size_t row = 0; row < out.size(); ++row) {
    const char* name = row == 0 ? "out" : "out of the second row";
    checks.within_bounds(name, out[row], problem.expected(static_cast<int>(row)));
    checks.bit_identical(name, sample_of(out[row], problem.batch, product({problem.outputs}), b), alone[row]);
  }
}

inline void test_above(Random& random) {
  Checks checks("above");
  int turn = 0;
  for (const int kernel : {3, 5, 6, 7, 9})  // 6 stands for kernel 5 with pairs of rows
    for (const int bytes : {4, 2})
      for (const int width : {1, 5, 8, 13})
        for (const int batch : {1, 3}) {
          const bool pairs = kernel == 6;
          const int inputs = kInputs[turn % (kSizes - 1)], outputs = kOutputs[turn / 3 % kSizes];
          check_above(checks, {random, pairs ? 5 : kernel, width, 1 + turn % 2, batch, inputs, outputs, bytes, pairs},
                      random);
          ++turn;
        }
  for (const int bytes : {4, 2}) {
    // More rows (tile of columns, sample) than are processed at once.
    check_above(checks, {random, 3, 13, 2, 13, 5, 19, bytes, false}, random);
    check_above(checks, {random, 5, 8, 1, 40, 5, 5, bytes, true}, random);
    check_above(checks, {random, 9, 13, 1, 3, 5, 5, bytes, false}, random);
    // More panels of outputs than one item has, and more inputs than are unpacked at once.
    check_above(checks, {random, 3, 5, 2, 1, 3, 8 * kernels().panel + 3, bytes, false}, random);
    check_above(checks, {random, 3, 5, 1, 5, 130, 5, bytes, false}, random);
  }
}
