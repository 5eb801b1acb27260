// Test of one block with attention at one column (AttentionBlockTask).
#pragma once

#include <algorithm>
#include <array>

#include "layers.h"

struct AttentionProblem {
  int layers, batch, channels, heads, head_width, width, entries, column, own;
  Floats x, gated, background, mask, keys, values, row_keys, row_values, own_keys, own_values;
  GatedLayer key, query, result;
  DenseLayer query_map, key_map, value_map;

  struct Outputs {
    Floats out, activated, key, value;
  };

  AttentionProblem(Random& random, int layers, int batch, int channels, int inner, int heads, int head_width, int width,
                   int entries, int column, int own, int bytes, bool has_labels, bool inplace)
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
        key(random, 2 * channels + 2, inner, 0, batch, bytes, has_labels, inplace),
        query(random, channels + 2, inner, 0, batch, bytes, has_labels, inplace),
        result(random, channels, inner, heads * head_width, batch, bytes, has_labels, inplace),
        query_map(random, channels + 2, heads * head_width, bytes, true, false, kernels().panel / 4),
        key_map(random, 2 * channels + 2, heads * head_width, bytes),
        value_map(random, 2 * channels + 2, heads * head_width, bytes) {
    // Masked and NaN: entry 0, which is padding, and the last entry, as if not yet written. NaN: this row from the
    // column on.
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
    for (GatedLayer* of : {&alone.key, &alone.query, &alone.result}) take(of->label, of->conv2.outputs);
    return alone;
  }

  Outputs run_kernel(Random& random) const {
    const size_t keys_size = product({batch, heads, head_width});
    Outputs outputs{Floats(x.size(), kNan), Floats(gated.size(), kNan), Floats(keys_size, kNan),
                    Floats(keys_size, kNan)};
    AttentionBlockTask t{};
    t.layers = {gated.data(), outputs.activated.data(), layers, key.inplace};
    t.background = background.data();
    AttendTask& a = t.attend;
    a.mask = mask.data(), a.keys = keys.data(), a.values = values.data(), a.row_keys = row_keys.data(),
    a.row_values = row_values.data();
    if (own > 0) a.own_keys = own_keys.data(), a.own_values = own_values.data();
    a.query_map = query_map.view(), a.heads = heads, a.head_width = head_width, a.width = width, a.entries = entries;
    a.column = column, a.own_columns = own;
    t.key = key.view(), t.query = query.view(), t.result = result.view();
    t.key_map = key_map.view(), t.value_map = value_map.view();
    t.key_out = outputs.key.data(), t.value_out = outputs.value.data();
    PhaseList list;
    StepMemory memory;
    StepBuilder step(list, memory, batch, channels);
    step.phase(step.input(x.data(), step.attention_start(t)));
    step.attention(t, step.result(outputs.out.data()));
    run(kernels(), list, random);
    return outputs;
  }

  // Attention of a query [heads d] of sample b over all earlier positions; zeros if there are none.
  BoundedValues attended(const BoundedValues& query, int b) const {
    BoundedValues out;
    for (int head = 0; head < heads; ++head) {
      struct Position {
        BoundedValues key, value;
      };
      std::vector<Position> positions;
      for (int entry = 0; entry < entries; ++entry)
        for (int j = 0; j < width; ++j) {
          if (mask[product({entry})] < 0) continue;
          const size_t at = product({(entry * batch + b) * heads + head, head_width, width});
          Position position;
          for (int e = 0; e < head_width; ++e) {
            position.key.push_back({keys[at + product({e, width}) + product({j})]});
            position.value.push_back({values[at + product({j, head_width}) + product({e})]});
          }
          positions.push_back(position);
        }
      const auto at = [&](int j) { return product({(j * batch + b) * heads + head, head_width}); };
      for (int j = 0; j < column; ++j)
        positions.push_back({exact(row_keys, at(j), head_width), exact(row_values, at(j), head_width)});
      for (int j = 0; j < own; ++j)
        positions.push_back({exact(own_keys, at(j), head_width), exact(own_values, at(j), head_width)});

      BoundedValues mass;
      double largest = -INFINITY;
      for (const Position& position : positions) {
        Sum score;
        for (int e = 0; e < head_width; ++e) score.add(query[head * head_width + e], position.key[e]);
        mass.push_back(score.total());
        largest = std::fmax(largest, mass.back().value);
      }
      Sum total;
      for (Bounded& score : mass) {
        score = exp(score + Bounded{-largest});
        total.add(score, {1});
      }
      for (int e = 0; e < head_width; ++e) {
        Sum sum;
        for (size_t j = 0; j < positions.size(); ++j) sum.add(mass[j] / total.total(), positions[j].value[e]);
        out.push_back(sum.total());
      }
    }
    return out;
  }

  // Returns out, activated, key and value.
  std::array<BoundedValues, 4> expected() const {
    std::vector<BoundedValues> outs, all_activated, key_outs, value_outs;
    for (int b = 0; b < batch; ++b) {
      const BoundedValues in = exact(x, product({b, channels}), channels),
                          coordinates = exact(background, product({b, 2}), 2);
      BoundedValues out = in, activated;
      add_layers(out, gated, 0, layers, batch, channels, b, activated, key.inplace);
      BoundedValues for_key = key.inplace ? elu(in) : in, for_query = out;
      append(for_key, out);
      append(for_key, coordinates);
      append(for_query, coordinates);
      for_key = key(for_key, {}, b);
      outs.push_back(result(out, attended(query_map(query(for_query, {}, b)), b), b));
      all_activated.push_back(activated);
      key_outs.push_back(key_map(for_key));
      value_outs.push_back(value_map(for_key));
    }
    return {joined(outs, channels), joined(all_activated, channels), joined(key_outs, heads * head_width),
            joined(value_outs, heads * head_width)};
  }
};

inline void test_attention(Random& random) {
  Checks checks("attention");
  int turn = 0;
  for (const int bytes : {4, 3, 1})
    for (const int batch : {1, 3, 13, 40})
      for (const int entries : {1, 2, 4})
        for (const int own : {0, 1}) {
          const int width = std::array{1, 5, 8, 13}[turn % 4], channels = std::array{1, 5, 19, 33}[turn / 2 % 4];
          const int column = turn % 3 == 0 ? 0 : turn % 3 == 1 ? width / 2 : width - 1, layers = 1 + turn % 2;
          const int heads = 1 + turn % 3, head_width = turn % 5 < 3 ? 2 : 16, inner = std::array{3, 12, 35}[turn % 3];
          const bool has_labels = turn / 2 % 2 == 0, inplace = turn / 4 % 2 == 1;
          ++turn;
          const AttentionProblem problem(random, layers, batch, channels, inner, heads, head_width, width, entries,
                                         column, own, bytes, has_labels, inplace);
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
                          {"labels", has_labels},
                          {"in place", inplace}});
          const auto result = problem.run_kernel(random);
          const auto [out, activated, key, value] = problem.expected();
          checks.within_bounds("out", result.out, out);
          checks.within_bounds("activated", result.activated, activated);
          checks.within_bounds("key", result.key, key);
          checks.within_bounds("value", result.value, value);
          const int b = random.below(batch);
          const auto alone = problem.sample(b).run_kernel(random);
          checks.bit_identical("out", sample_of(result.out, batch, product({channels}), b), alone.out);
          checks.bit_identical("activated", sample_of(result.activated, batch, product({channels}), b),
                               alone.activated);
          checks.bit_identical("key", sample_of(result.key, batch, product({heads, head_width}), b), alone.key);
          checks.bit_identical("value", sample_of(result.value, batch, product({heads, head_width}), b), alone.value);
        }
}
