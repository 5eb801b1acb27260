// Every kernel of one instruction set against plain loops in float64, on random inputs; and every sample's results
// alone and within a batch, bit for bit. Linked with one kernels/instruction_set.cpp; both are compiled with
// LATENTLOOP_KERNELS, the function's name. Arguments: the kernels to test, by default all of them.
//
// Outputs are filled with NaN first, and so is every input that no kernel may look at.
#include "kernels.h"

#include <algorithm>
#include <initializer_list>

#include "causal_conv/packing.h"
#include "harness.h"
#include "near.h"
#include "nearest_test.h"

#ifndef LATENTLOOP_KERNELS
#error "define LATENTLOOP_KERNELS"
#endif

namespace latentloop {
const Kernels& LATENTLOOP_KERNELS();
}

#if defined(__SANITIZE_ADDRESS__)
// New memory is NaN: working memory and packed weights that nobody wrote show as well.
extern "C" const char* __asan_default_options() { return "max_malloc_fill_size=1073741824:malloc_fill_byte=255"; }
#endif

namespace {

using namespace latentloop;

const Kernels& kernels() { return LATENTLOOP_KERNELS(); }

size_t panel() { return static_cast<size_t>(kernels().panel); }

size_t product(std::initializer_list<int> sizes) {
  size_t count = 1;
  for (const int size : sizes) count *= static_cast<size_t>(size);
  return count;
}

// Values as an array of rows of `inner` values: row `index`.
const float* row_of(const Floats& values, int index, int inner) {
  return values.data() + static_cast<size_t>(index) * static_cast<size_t>(inner);
}

// Awkward sizes: less than a vector, about a panel, and more than the inputs that are unpacked at once.
constexpr int kInputs[]{1, 5, 19, 33, 130};
constexpr int kOutputs[]{1, 5, 19, 33, 100};
constexpr int kSizes{5};

// ---- The taps to the left.

struct LeftProblem {
  int taps, columns, layers, batch, inputs, outputs, bytes;
  bool gated;
  Floats x, above, weight;
  Stored stored;

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
        // Now and then so large that the exponential saturates.
        above(random.floats(product({columns, layers, batch, outputs}), random.below(4) == 0 ? 120.0f : 2.0f)),
        weight(random_weights(random, taps, layers, inputs, outputs, bytes,
                              3 / std::sqrt(static_cast<float>(taps * inputs)))),
        stored(pack_left(weight.data(), taps, layers, inputs, outputs, gated, panel(), bytes),
               static_cast<size_t>(layers) * (gated ? 2 : 1) * panel_count(width(), panel()), product({taps, inputs}),
               panel()) {}

  int width() const { return gated ? outputs / 2 : outputs; }

  // The same, but what is added to output o of row (column, layer, sample) is not a number.
  LeftProblem spoilt(int row, int o) const {
    LeftProblem other = *this;
    other.above[product({row, outputs}) + product({o})] = kNan;
    return other;
  }

  LeftProblem sample(int b) const {
    LeftProblem alone = *this;
    alone.batch = 1;
    alone.x = sample_of(x, batch, product({inputs}), b);
    alone.above = sample_of(above, batch, product({outputs}), b);
    return alone;
  }

  Floats found(Random& random) const {
    Floats out(product({columns, layers, batch, width()}), kNan);
    run(kernels().left,
        LeftTask{x.data(), above.data(), stored.view(), out.data(), taps, columns, layers, batch, inputs, outputs,
                 gated},
        random);
    return out;
  }

  std::vector<Near> expected() const {
    std::vector<double> error(product({layers, outputs}));
    for (size_t w = 0; w < weight.size(); ++w) {
      const size_t layer = w / product({inputs, outputs}) % product({layers});
      double& largest = error[layer * product({outputs}) + w % product({outputs})];
      largest = std::fmax(largest, std::fabs(weight[w]));
    }
    for (double& largest : error) largest = stored_error(bytes, largest);
    std::vector<Near> out;
    for (int column = 0; column < columns; ++column)
      for (int layer = 0; layer < layers; ++layer)
        for (int b = 0; b < batch; ++b)
          for (int o = 0; o < width(); ++o) {
            const Near value = sum(error, column, layer, b, o);
            out.push_back(gated ? value * sigmoid(sum(error, column, layer, b, o + width())) : elu(value));
          }
    return out;
  }

  Near sum(const std::vector<double>& error, int column, int layer, int b, int o) const {
    const double weight_error = error[product({layer, outputs}) + o];
    Sum sum;
    for (int tap = 0; tap < taps; ++tap) {
      const float* in = row_of(x, ((column + tap) * layers + layer) * batch + b, inputs);
      const float* column_weight = row_of(weight, (tap * layers + layer) * inputs, outputs) + o;
      for (int i = 0; i < inputs; ++i) sum.add({in[i]}, {column_weight[i * outputs], weight_error});
    }
    return sum.total() + Near{row_of(above, (column * layers + layer) * batch + b, outputs)[o]};
  }
};

void test_left(Random& random) {
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
            const Floats out = problem.found(random);
            checks.near("out", out, problem.expected());
            const int b = random.below(batch);
            checks.same("out", sample_of(out, batch, product({problem.width()}), b), problem.sample(b).found(random));
            const int row = random.below(columns * problem.layers * batch), o = random.below(outputs);
            const Floats spoilt = problem.spoilt(row, o).found(random);
            const size_t at = product({row, problem.width()}) + product({o % problem.width()});
            for (size_t i = 0; i < out.size(); ++i)
              checks.holds("out", i, i == at ? std::isnan(spoilt[i]) : spoilt[i] == out[i], "one NaN makes one NaN");
          }
}

// ---- The rows above.

// What the Cook-Toom transforms along the columns make of rounding errors, and pairs of rows once more; a kernel of 9
// has the direct form.
double amplification(int kernel, bool pairs) { return (kernel == 9 ? 1 : 12) * (pairs ? 2 : 1); }

struct AboveProblem {
  int kernel, width, layers, batch, inputs, outputs, bytes;
  bool pairs;
  CookToom form;
  RowForm row_form;
  std::vector<Floats> rows;  // the k - 1 rows above; pairs: of two rows of outputs, k rows
  Floats bias;
  std::vector<Floats> weights;  // per layer [k (k - 1) I, O]
  std::vector<Stored> stored;   // one

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
        row_form(pairs ? RowForm::pairs() : RowForm::single(static_cast<size_t>(kernel))),
        bias(random.floats(product({layers, outputs}))) {
    for (int row = 0; row < kernel - 1 + pairs; ++row)
      rows.push_back(random.floats(product({width + kernel - 1, layers, batch, inputs})));
    const size_t per_layer = panel_count(product({outputs}), panel()) * form.points;
    Panels packed(product({layers}) * per_layer, row_form.taps.size() * product({inputs}), panel(), bytes);
    for (int layer = 0; layer < layers; ++layer) {
      weights.push_back(random.floats(product({kernel, kernel - 1, inputs, outputs})));
      pack_above(weights.back().data(), form, row_form, product({inputs}), product({outputs}), panel(),
                 product({layer}) * per_layer, packed);
    }
    stored.emplace_back(packed, product({layers}) * per_layer, row_form.taps.size() * product({inputs}), panel());
  }

  AboveProblem sample(int b) const {
    AboveProblem alone = *this;
    alone.batch = 1;
    for (Floats& row : alone.rows) row = sample_of(row, batch, product({inputs}), b);
    return alone;
  }

  // The result for the rows of outputs: one, or the two of a pair.
  std::vector<Floats> found(Random& random) const {
    const size_t count = product({width, layers, batch, outputs});
    AboveTask task{};
    std::vector<const float*> pointers;
    for (int row = 0; row < kernel - 1; ++row) pointers.push_back(rows[row].data());
    task.rows = pointers.data();
    task.weights = stored[0].view();
    task.bias = bias.data();
    task.groups = row_form.groups.data();
    task.group_count = task.packed_groups = static_cast<int>(row_form.groups.size());
    task.kernel = kernel, task.tile = static_cast<int>(form.tile), task.width = width;
    task.layers = layers, task.batch = batch, task.inputs = inputs, task.outputs = outputs;
    task.inputs_transform = form.inputs.data();
    task.outputs_transform = form.outputs.data();
    std::vector<Floats> out{Floats(count, kNan)};
    task.out = out[0].data();
    Floats below(pairs ? count : 0, kNan);
    if (pairs) task.below = below.data();
    run(kernels().above, task, random);
    if (!pairs) return out;
    // The second row of the pair looks at no row but the nearest.
    std::fill(pointers.begin(), pointers.end(), nullptr);
    pointers.back() = rows.back().data();
    task.partial = below.data();
    task.below = nullptr;
    task.groups += RowForm::kLast;
    task.group_count = 1;
    out.emplace_back(count, kNan);
    task.out = out[1].data();
    run(kernels().above, task, random);
    return out;
  }

  // The direct form, `row` rows further down.
  //
  // Rounding errors are bounded by the terms' size, sum |x| max |w|, to which all products of one output add up. Two
  // bytes a weight are off by up to half of 2^-15 of the largest, each independently of the others: they add up as
  // squares do, and the last factor is six standard deviations.
  std::vector<Near> expected(int row) const {
    const double factor = amplification(kernel, pairs);
    std::vector<Near> out;
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

void check_above(Checks& checks, const AboveProblem& problem, Random& random) {
  checks.problem({{"kernel", problem.kernel},
                  {"pairs", problem.pairs},
                  {"bytes", problem.bytes},
                  {"width", problem.width},
                  {"layers", problem.layers},
                  {"batch", problem.batch},
                  {"inputs", problem.inputs},
                  {"outputs", problem.outputs}});
  const std::vector<Floats> out = problem.found(random);
  const int b = random.below(problem.batch);
  const std::vector<Floats> alone = problem.sample(b).found(random);
  for (size_t row = 0; row < out.size(); ++row) {
    const char* name = row == 0 ? "out" : "out of the second row";
    checks.near(name, out[row], problem.expected(static_cast<int>(row)));
    checks.same(name, sample_of(out[row], problem.batch, product({problem.outputs}), b), alone[row]);
  }
}

void test_above(Random& random) {
  Checks checks("above");
  int turn = 0;
  for (const int kernel : {3, 5, 5 + 1, 7, 9})  // 6: pairs of rows of 5
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
    // More rows (tiles of columns, samples) than are handled at once.
    check_above(checks, {random, 3, 13, 2, 13, 5, 19, bytes, false}, random);
    check_above(checks, {random, 5, 8, 1, 40, 5, 5, bytes, true}, random);
    check_above(checks, {random, 9, 13, 1, 3, 5, 5, bytes, false}, random);
    // More panels of outputs than share the transformed inputs, and more inputs than are unpacked at once.
    check_above(checks, {random, 3, 5, 2, 1, 3, 8 * kernels().panel + 3, bytes, false}, random);
    check_above(checks, {random, 3, 5, 1, 5, 130, 5, bytes, false}, random);
  }
}

// ---- Products of the chain.

using Nears = std::vector<Near>;

// A matrix [I, O] with or without a bias, stored in `bytes` bytes a weight.
struct Matrix {
  int inputs, outputs, bytes;
  Floats weight, bias;
  Stored stored;

  Matrix(Random& random, int inputs, int outputs, int bytes, bool biased = true)
      : inputs(inputs),
        outputs(outputs),
        bytes(bytes),
        weight(random_weights(random, 1, 1, inputs, outputs, bytes, 2 / std::sqrt(static_cast<float>(inputs)))),
        bias(biased ? random.floats(product({outputs})) : Floats{}),
        stored(pack_left(weight.data(), 1, 1, inputs, outputs, false, panel(), bytes),
               panel_count(product({outputs}), panel()), product({inputs}), panel()) {}

  Dense view() const { return {stored.view(), bias.empty() ? nullptr : bias.data(), inputs, outputs}; }

  // x [inputs] -> [outputs].
  Nears operator()(const Nears& x) const {
    Nears out;
    for (int o = 0; o < outputs; ++o) {
      double largest = 0;
      for (int i = 0; i < inputs; ++i)
        largest = std::fmax(largest, std::fabs(weight[product({i, outputs}) + product({o})]));
      Sum sum;
      for (int i = 0; i < inputs; ++i)
        sum.add(x[i], {weight[product({i, outputs}) + product({o})], stored_error(bytes, largest)});
      out.push_back(bias.empty() ? sum.total() : sum.total() + Near{bias[o]});
    }
    return out;
  }
};

Nears elu(Nears x) {
  for (Near& value : x) value = elu(value);
  return x;
}

void add(Nears& x, const Nears& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + y[i];
}

// Values from `at` on.
Nears exact(const Floats& values, size_t at, int count) {
  Nears out;
  for (size_t i = at; i < at + product({count}); ++i) out.push_back({values[i]});
  return out;
}

void append(Nears& x, const Nears& y) { x.insert(x.end(), y.begin(), y.end()); }

// One sample's x [C], or in place its ELU, plus each layer's gated output, of gated [L, B, C]; `entered` gets the ELU
// of x before each.
void add_layers(Nears& x, const Floats& gated, int first, int layers, int batch, int channels, int b, Nears& entered,
                bool inplace) {
  for (int layer = first; layer < first + layers; ++layer) {
    append(entered, elu(x));
    if (inplace) x = elu(x);
    add(x, exact(gated, product({layer * batch + b, channels}), channels));
  }
}

// Per sample [..., C] -> [..., batch, C].
Nears joined(const std::vector<Nears>& samples, int inner) {
  Nears out;
  for (size_t at = 0; at < samples[0].size(); at += product({inner}))
    for (const Nears& sample : samples)
      for (size_t i = at; i < at + product({inner}); ++i) out.push_back(sample[i]);
  return out;
}

// ---- The chain without attention.

struct MixProblem {
  int blocks, layers, batch, channels;  // layers of a block
  bool inplace;
  Floats x, gated, mix_above;
  std::vector<Matrix> mixes;

  struct Outputs {
    Floats out, entered;
  };

  MixProblem(Random& random, int blocks, int layers, int batch, int channels, int bytes, bool inplace)
      : blocks(blocks),
        layers(layers),
        batch(batch),
        channels(channels),
        inplace(inplace),
        x(random.floats(product({batch, channels}))),
        gated(random.floats(product({blocks, layers, batch, channels}))),
        mix_above(random.floats(product({blocks, channels}))) {
    for (int b = 0; b < blocks; ++b) mixes.emplace_back(random, channels, channels, bytes, false);
  }

  MixProblem sample(int b) const {
    MixProblem alone = *this;
    alone.batch = 1;
    alone.x = sample_of(x, batch, product({channels}), b);
    alone.gated = sample_of(gated, batch, product({channels}), b);
    return alone;
  }

  Outputs found(Random& random) const {
    Outputs to{Floats(x.size(), kNan), Floats(gated.size(), kNan)};
    std::vector<Dense> views;
    for (const Matrix& mix : mixes) views.push_back(mix.view());
    run(kernels().mix,
        MixTask{x.data(), gated.data(), mix_above.data(), views.data(), to.out.data(), to.entered.data(), blocks,
                blocks * layers, batch, channels, inplace},
        random);
    return to;
  }

  // out, entered.
  std::pair<Nears, Nears> expected() const {
    std::vector<Nears> out, entered;
    for (int b = 0; b < batch; ++b) {
      Nears value = exact(x, product({b, channels}), channels), inputs;
      for (int block = 0; block < blocks; ++block) {
        add_layers(value, gated, block * layers, layers, batch, channels, b, inputs, inplace);
        value = mixes[block](value);
        add(value, exact(mix_above, product({block, channels}), channels));
      }
      out.push_back(value);
      entered.push_back(inputs);
    }
    return {joined(out, channels), joined(entered, channels)};
  }
};

void test_mix(Random& random) {
  Checks checks("mix");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int blocks : {1, 3}) {
        const int channels = kOutputs[turn % kSizes], layers = 1 + turn % 3;
        const bool inplace = turn / 3 % 2 == 1;
        ++turn;
        const MixProblem problem(random, blocks, layers, batch, channels, bytes, inplace);
        checks.problem({{"bytes", bytes},
                        {"blocks", blocks},
                        {"layers of each", layers},
                        {"batch", batch},
                        {"channels", channels},
                        {"in place", inplace}});
        const auto to = problem.found(random);
        const auto [out, entered] = problem.expected();
        checks.near("out", to.out, out);
        checks.near("entered", to.entered, entered);
        const int b = random.below(batch);
        const auto alone = problem.sample(b).found(random);
        checks.same("out", sample_of(to.out, batch, product({channels}), b), alone.out);
        checks.same("entered", sample_of(to.entered, batch, product({channels}), b), alone.entered);
      }
}

// ---- A block with attention.

// A gated 1 x 1 block of `width`, with `inner` channels between.
struct Gated {
  Matrix conv1, conv2;
  std::vector<Matrix> auxiliary;  // none, or one
  Floats label;                   // [B, 2 width], or empty
  bool inplace;

  Gated(Random& random, int width, int inner, int other, int batch, int bytes, bool labelled, bool inplace)
      : conv1(random, width, inner, bytes),
        conv2(random, inner, 2 * width, bytes),
        label(labelled ? random.floats(product({batch, 2, width})) : Floats{}),
        inplace(inplace) {
    if (other > 0) auxiliary.emplace_back(random, other, inner, bytes, false);
  }

  Pointwise view() const {
    return {conv1.view(), conv2.view(), auxiliary.empty() ? Dense{} : auxiliary[0].view(),
            label.empty() ? nullptr : label.data(), inplace};
  }

  Nears operator()(Nears x, const Nears& y, int b) const {
    Nears hidden = conv1(elu(x));
    if (!auxiliary.empty()) add(hidden, auxiliary[0](elu(y)));
    Nears halves = conv2(elu(hidden));
    if (!label.empty()) add(halves, exact(label, product({b}) * halves.size(), conv2.outputs));
    if (inplace) x = elu(x);
    for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + halves[i] * sigmoid(halves[x.size() + i]);
    return x;
  }
};

struct AttentionProblem {
  int layers, batch, channels, heads, head_width, width, entries, column, own;
  Floats x, gated, background, mask, keys, values, row_keys, row_values, own_keys, own_values;
  Gated key, query, result;
  Matrix query_map, key_map, value_map;

  struct Outputs {
    Floats out, entered, key, value;
  };

  AttentionProblem(Random& random, int layers, int batch, int channels, int inner, int heads, int head_width, int width,
                   int entries, int column, int own, int bytes, bool labelled, bool inplace)
      : layers(layers),
        batch(batch),
        channels(channels),
        heads(heads),
        head_width(head_width),
        width(width),
        entries(entries),
        column(column),
        own(own),
        x(random.floats(product({batch, channels}))),
        gated(random.floats(product({layers, batch, channels}))),
        background(random.floats(product({batch, 2}))),
        mask(product({entries}), 0.0f),
        keys(random.floats(product({entries, batch, heads, head_width, width}))),
        values(random.floats(keys.size())),
        row_keys(random.floats(product({width, batch, heads, head_width}))),
        row_values(random.floats(row_keys.size())),
        own_keys(random.floats(product({own, batch, heads, head_width}))),
        own_values(random.floats(own_keys.size())),
        key(random, 2 * channels + 2, inner, 0, batch, bytes, labelled, inplace),
        query(random, channels + 2, inner, 0, batch, bytes, labelled, inplace),
        result(random, channels, inner, heads * head_width, batch, bytes, labelled, inplace),
        query_map(random, channels + 2, heads * head_width, bytes),
        key_map(random, 2 * channels + 2, heads * head_width, bytes),
        value_map(random, 2 * channels + 2, heads * head_width, bytes) {
    // Entry 0 is void, the last one of many not yet written, and this row is known up to the column alone.
    const auto hide = [](Floats& from, size_t begin, size_t end) {
      std::fill(from.begin() + static_cast<std::ptrdiff_t>(begin), from.begin() + static_cast<std::ptrdiff_t>(end),
                kNan);
    };
    const size_t entry_size = product({batch, heads, head_width, width});
    for (int entry : {0, entries > 3 ? entries - 1 : 0}) {
      mask[product({entry})] = -1e30f;
      for (Floats* finished : {&keys, &values})
        hide(*finished, product({entry}) * entry_size, product({entry + 1}) * entry_size);
    }
    for (Floats* row : {&row_keys, &row_values}) hide(*row, product({column, batch, heads, head_width}), row->size());
  }

  AttentionProblem sample(int b) const {
    AttentionProblem alone = *this;
    alone.batch = 1;
    const auto take = [&](Floats& values, int inner) { values = sample_of(values, batch, product({inner}), b); };
    for (Floats* of : {&alone.x, &alone.gated}) take(*of, channels);
    take(alone.background, 2);
    for (Floats* of : {&alone.keys, &alone.values}) take(*of, heads * head_width * width);
    for (Floats* of : {&alone.row_keys, &alone.row_values, &alone.own_keys, &alone.own_values})
      take(*of, heads * head_width);
    for (Gated* of : {&alone.key, &alone.query, &alone.result}) take(of->label, of->conv2.outputs);
    return alone;
  }

  Outputs found(Random& random) const {
    const size_t keys_size = product({batch, heads, head_width});
    Outputs to{Floats(x.size(), kNan), Floats(gated.size(), kNan), Floats(keys_size, kNan), Floats(keys_size, kNan)};
    AttentionTask t{};
    t.x = x.data(), t.gated = gated.data(), t.background = background.data();
    t.mask = mask.data(), t.keys = keys.data(), t.values = values.data(), t.row_keys = row_keys.data(),
    t.row_values = row_values.data();
    if (own > 0) t.own_keys = own_keys.data(), t.own_values = own_values.data();
    t.key = key.view(), t.query = query.view(), t.result = result.view();
    t.query_map = query_map.view(), t.key_map = key_map.view(), t.value_map = value_map.view();
    t.out = to.out.data(), t.entered = to.entered.data(), t.key_out = to.key.data(), t.value_out = to.value.data();
    t.layers = layers, t.batch = batch, t.channels = channels, t.heads = heads, t.head_width = head_width;
    t.width = width, t.entries = entries, t.column = column, t.own = own, t.inplace = key.inplace;
    run(kernels().attention, t, random);
    return to;
  }

  // A query [heads d] of sample b over everything before; zeros where there is nothing.
  Nears attended(const Nears& query, int b) const {
    Nears out;
    for (int head = 0; head < heads; ++head) {
      struct Position {
        std::vector<Near> key, value;
      };
      std::vector<Position> before;
      for (int entry = 0; entry < entries; ++entry)
        for (int j = 0; j < width; ++j) {
          if (mask[product({entry})] < 0) continue;
          const size_t at = product({(entry * batch + b) * heads + head, head_width, width});
          Position position;
          for (int e = 0; e < head_width; ++e) {
            position.key.push_back({keys[at + product({e, width}) + product({j})]});
            position.value.push_back({values[at + product({j, head_width}) + product({e})]});
          }
          before.push_back(position);
        }
      const auto at = [&](int j) { return product({(j * batch + b) * heads + head, head_width}); };
      for (int j = 0; j < column; ++j)
        before.push_back({exact(row_keys, at(j), head_width), exact(row_values, at(j), head_width)});
      for (int j = 0; j < own; ++j)
        before.push_back({exact(own_keys, at(j), head_width), exact(own_values, at(j), head_width)});

      Nears mass;
      double largest = -INFINITY;
      for (const Position& position : before) {
        Sum score;
        for (int e = 0; e < head_width; ++e) score.add(query[head * head_width + e], position.key[e]);
        mass.push_back(score.total());
        largest = std::fmax(largest, mass.back().value);
      }
      Sum total;
      for (Near& score : mass) {
        score = exp(score + Near{-largest});
        total.add(score, {1});
      }
      for (int e = 0; e < head_width; ++e) {
        Sum sum;
        for (size_t j = 0; j < before.size(); ++j) sum.add(mass[j] / total.total(), before[j].value[e]);
        out.push_back(sum.total());
      }
    }
    return out;
  }

  // out, entered, key, value.
  std::array<Nears, 4> expected() const {
    std::vector<Nears> outs, entereds, key_outs, value_outs;
    for (int b = 0; b < batch; ++b) {
      const Nears in = exact(x, product({b, channels}), channels), place = exact(background, product({b, 2}), 2);
      Nears out = in, entered;
      add_layers(out, gated, 0, layers, batch, channels, b, entered, key.inplace);
      Nears for_key = key.inplace ? elu(in) : in, for_query = out;
      append(for_key, out);
      append(for_key, place);
      append(for_query, place);
      for_key = key(for_key, {}, b);
      outs.push_back(result(out, attended(query_map(query(for_query, {}, b)), b), b));
      entereds.push_back(entered);
      key_outs.push_back(key_map(for_key));
      value_outs.push_back(value_map(for_key));
    }
    return {joined(outs, channels), joined(entereds, channels), joined(key_outs, heads * head_width),
            joined(value_outs, heads * head_width)};
  }
};

void test_attention(Random& random) {
  Checks checks("attention");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int entries : {1, 2, 4})
        for (const int own : {0, 1}) {
          const int width = std::array{1, 5, 8, 13}[turn % 4], channels = std::array{1, 5, 19, 33}[turn / 2 % 4];
          const int column = turn % 3 == 0 ? 0 : turn % 3 == 1 ? width / 2 : width - 1, layers = 1 + turn % 2;
          const int heads = 1 + turn % 3, head_width = turn % 5 < 3 ? 2 : 16, inner = std::array{3, 12, 35}[turn % 3];
          const bool labelled = turn / 2 % 2 == 0, inplace = turn / 4 % 2 == 1;
          ++turn;
          const AttentionProblem problem(random, layers, batch, channels, inner, heads, head_width, width, entries,
                                         column, own, bytes, labelled, inplace);
          checks.problem({{"bytes", bytes},
                          {"batch", batch},
                          {"entries", entries},
                          {"own", own},
                          {"width", width},
                          {"column", column},
                          {"channels", channels},
                          {"inner", inner},
                          {"heads", heads},
                          {"head width", head_width},
                          {"layers", layers},
                          {"labelled", labelled},
                          {"in place", inplace}});
          const auto to = problem.found(random);
          const auto [out, entered, key, value] = problem.expected();
          checks.near("out", to.out, out);
          checks.near("entered", to.entered, entered);
          checks.near("key", to.key, key);
          checks.near("value", to.value, value);
          const int b = random.below(batch);
          const auto alone = problem.sample(b).found(random);
          checks.same("out", sample_of(to.out, batch, product({channels}), b), alone.out);
          checks.same("entered", sample_of(to.entered, batch, product({channels}), b), alone.entered);
          checks.same("key", sample_of(to.key, batch, product({heads, head_width}), b), alone.key);
          checks.same("value", sample_of(to.value, batch, product({heads, head_width}), b), alone.value);
        }
}

// ---- The draw.

struct DrawProblem {
  int batch, channels, codes;
  Floats x, uniform, temperature;
  std::vector<int64_t> forced;
  Matrix logits;

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

  Outputs found(Random& random) const {
    Outputs to{std::vector<int64_t>(product({batch}), -2), Floats(product({batch, codes}), kNan)};
    run(kernels().draw,
        DrawTask{x.data(), logits.view(), uniform.data(), temperature.data(), forced.data(), to.code.data(),
                 to.out.data(), batch},
        random);
    return to;
  }

  Nears expected() const {
    Nears out;
    for (int b = 0; b < batch; ++b) append(out, logits(elu(exact(x, product({b, channels}), channels))));
    return out;
  }

  // Whether sample b may draw `code` from these logits: its edges enclose uniform * total, to within rounding. The
  // edges' errors are those of the exponentials, whose arguments are rounded too, and of the sum over the codes.
  bool may_draw(const float* of, int b, int64_t code) const {
    std::vector<double> scaled, below;
    for (int k = 0; k < codes; ++k) scaled.push_back(static_cast<double>(of[k]) / temperature[b]);
    const double largest = *std::max_element(scaled.begin(), scaled.end());
    double total = 0, argument = 0;
    for (const double value : scaled) {
      below.push_back(total);
      total += std::exp(value - largest);
      argument = std::fmax(argument, std::fabs(value) + std::fabs(value - largest));
    }
    below.push_back(total);
    const double off = total * (kExp + kRounding * (2 * argument + 4 + std::sqrt(codes)));
    const double threshold = uniform[b] * total;
    return code >= 0 && code < codes && below[code] <= threshold + off && threshold - off < below[code + 1];
  }
};

void test_draw(Random& random) {
  Checks checks("draw");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int codes : {1, 2, 11, 100, 512}) {
        const int channels = std::array{1, 5, 19, 33}[turn++ % 4];
        const DrawProblem problem(random, batch, channels, codes, bytes);
        checks.problem({{"bytes", bytes}, {"batch", batch}, {"channels", channels}, {"codes", codes}});
        const auto to = problem.found(random);
        checks.near("logits", to.out, problem.expected());
        for (int b = 0; b < batch; ++b) {
          const int64_t forced = problem.forced[b], code = to.code[b];
          checks.holds("code", b, forced < 0 || code == forced, "not the forced one");
          checks.holds("code", b, forced >= 0 || problem.may_draw(to.out.data() + product({b, codes}), b, code),
                       "not the drawn one");
          // All codes have some mass, however little.
          checks.holds("code", b, forced >= 0 || problem.uniform[b] > 0 || code == 0, "zero draws the first code");
        }
        const int b = random.below(batch);
        const auto alone = problem.sample(b).found(random);
        checks.same("logits", sample_of(to.out, batch, product({codes}), b), alone.out);
        checks.same("code", sample_of(to.code, batch, 1, b), alone.code);
      }
}

void test_nearest(Random& random) { test_nearest(kernels(), random); }

}  // namespace

int main(int count, char** arguments) {
  const std::pair<const char*, void (*)(Random&)> tests[]{{"left", test_left}, {"above", test_above},
                                                          {"mix", test_mix},   {"attention", test_attention},
                                                          {"draw", test_draw}, {"nearest", test_nearest}};
  for (const auto& [name, test] : tests) {
    bool asked = count == 1;
    for (int i = 1; i < count; ++i) asked = asked || std::strcmp(arguments[i], name) == 0;
    if (!asked) continue;
    Random random(1);  // each test by itself does what it does among all
    test(random);
  }
  return 0;
}
