// Test of a whole step of a prior (PriorStepBuilder): its phases on several threads equal a step whose columns, blocks
// and samples are computed one after the other, by the lists of the other tests.
#pragma once

#include <array>
#include <atomic>
#include <deque>

#include "layers.h"
#include "steps/prior.h"

// Runs a list on `threads` threads, as an executor does: they claim items in order, and wait for the phase before.
inline bool run_on_threads(const latentloop::Kernels& kernels, const latentloop::PhaseList& list, int threads) {
  std::vector<std::pair<size_t, std::pair<const latentloop::Task*, size_t>>> items;  // with their phase
  std::deque<std::atomic<size_t>> left(list.phases());
  for (size_t phase = 0; phase < list.phases(); ++phase)
    for (const latentloop::Task* task = list.begin(phase); task != list.end(phase); ++task)
      for (size_t item = 0; item < kernels.step_items(*task); ++item) {
        items.push_back({phase, {task, item}});
        ++left[phase];
      }
  std::atomic<size_t> next{0};
  std::atomic<bool> complete{true};
  const auto work = [&] {
    for (size_t i = next++; i < items.size(); i = next++) {
      const size_t phase = items[i].first;
      while (phase > 0 && left[phase - 1].load(std::memory_order_acquire) != 0) std::this_thread::yield();
      if (kernels.step_item(*items[i].second.first, items[i].second.second) != latentloop::kComplete) complete = false;
      left[phase].fetch_sub(1, std::memory_order_release);
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  return complete;
}

struct PriorProblem {
  int reach, columns, blocks, block_layers, channels, inner, codes, batch;
  int heads, head_width, width, entries, column, stage_count;
  bool attention, has_labels, inplace;
  Floats residual, hidden, conv1_above, conv2_above, input_above, mix_above, left_table, label_terms, background, mask;
  Floats conv1_left, conv2_left, uniform, temperature;
  std::vector<std::array<Floats, 4>> history;
  std::vector<int64_t> earlier, forced;
  StoredWeights conv1_stored, conv2_stored;
  struct Attention {
    GatedLayer key, query, result;
    DenseLayer query_map, key_map, value_map;
  };
  std::vector<Attention> attention_layers;
  std::vector<DenseLayer> mixes;
  std::vector<GatedLayer> stages;
  DenseLayer logits;

  struct Outputs {
    std::vector<int64_t> code;
    Floats logits, residual, hidden;
    std::vector<std::array<Floats, 2>> rows;  // keys and values of every block
    bool complete;
  };

  PriorProblem(Random& random, int turn, int batch, bool attention)
      : reach(1 + turn % 3),
        columns(2),
        blocks(1 + turn % 2),
        block_layers(2),
        channels(std::array{5, 19, 33}[turn % 3]),
        inner(std::array{12, 35}[turn % 2]),
        codes(11 + turn),
        batch(batch),
        heads(2),
        head_width(4),
        width(6),
        entries(3),
        column(2),
        stage_count(turn % 3),
        attention(attention),
        has_labels(turn % 2 == 0 && (attention || stage_count > 0)),
        inplace(turn % 4 == 1),
        residual(random.floats(product({reach + 1, layers(), batch, channels}))),
        hidden(random.floats(product({reach - 1, layers(), batch, inner}))),
        conv1_above(random.floats(product({2, layers(), batch, inner}))),
        conv2_above(random.floats(product({2, layers(), batch, 2, channels}))),
        input_above(random.floats(product({2, batch, channels}))),
        mix_above(random.floats(product({2, blocks, channels}))),
        left_table(random.floats(product({reach, codes + 1, channels}))),
        background(random.floats(product({2, batch, 2}))),
        mask{-1e30f, 0, 0},
        conv1_left(random_weights(random, reach, layers(), channels, inner, 3, 0.3f)),
        conv2_left(random_weights(random, reach, layers(), inner, 2 * channels, 3, 0.3f)),
        conv1_stored(pack_left(conv1_left.data(), product({reach}), product({layers()}), product({channels}),
                               product({inner}), false, panel(), 3),
                     product({layers()}) * panel_count(product({inner}), panel()), product({reach, channels}), panel()),
        conv2_stored(pack_left(conv2_left.data(), product({reach}), product({layers()}), product({inner}),
                               product({2, channels}), true, panel(), 3),
                     product({2, layers()}) * panel_count(product({channels}), panel()), product({reach, inner}),
                     panel()),
        logits(random, channels, codes, 3) {
    const size_t finished = product({entries, batch, heads, head_width, width});
    const size_t row = product({width, batch, heads, head_width});
    for (int b = 0; b < blocks; ++b) {
      if (!attention) {
        mixes.emplace_back(random, channels, channels, 3, false);
        continue;
      }
      const int outputs = heads * head_width;
      history.push_back({random.floats(finished), random.floats(finished), random.floats(row), random.floats(row)});
      attention_layers.push_back({{random, 2 * channels + 2, inner, 0, batch, 3, false, inplace},
                                  {random, channels + 2, inner, 0, batch, 3, false, inplace},
                                  {random, channels, inner, outputs, batch, 3, false, inplace},
                                  {random, channels + 2, outputs, 3, true, false, kernels().panel / 4},
                                  {random, 2 * channels + 2, outputs, 3},
                                  {random, 2 * channels + 2, outputs, 3}});
    }
    for (int s = 0; s < stage_count; ++s) stages.emplace_back(random, channels, inner, 0, batch, 3, false, inplace);
    for (int t = 0; t < reach * batch; ++t) earlier.push_back(random.below(codes + 1));
    for (int n = 0; n < 2 * batch; ++n) {
      uniform.push_back(random.uniform());
      forced.push_back(random.below(3) == 0 ? random.below(codes) : -1);
    }
    temperature = Floats(product({batch}), 0.8f);
    label_terms = random.floats(product({batch, labels()}));
  }

  int layers() const { return blocks * block_layers; }
  int labels() const {
    const int of_attention = attention ? blocks * 2 * (4 * channels + 4) : 0;
    return has_labels ? of_attention + stage_count * 2 * channels : 0;
  }

  PriorModel model() const {
    PriorModel m{};
    m.reach = reach, m.columns = columns, m.blocks = blocks, m.block_layers = block_layers;
    m.channels = channels, m.inner = inner, m.codes = codes, m.labels = labels(), m.inplace = inplace;
    m.conv1_left = conv1_stored.view(), m.conv2_left = conv2_stored.view(), m.logits = logits.view();
    for (const Attention& a : attention_layers) {
      AttentionBlockTask task{};
      task.key = a.key.view(), task.query = a.query.view(), task.result = a.result.view();
      task.attend.query_map = a.query_map.view(), task.attend.heads = heads, task.attend.head_width = head_width;
      task.key_map = a.key_map.view(), task.value_map = a.value_map.view();
      m.attention.push_back(task);
    }
    for (const DenseLayer& mix : mixes) m.mixes.push_back(mix.view());
    for (const GatedLayer& stage : stages) m.stages.push_back(stage.view());
    return m;
  }

  // Computes the first columns of the step: on `threads` threads, or if 0, in random order.
  Outputs run_step(Random& random, int threads, int step_columns) const {
    const int row = heads * head_width;
    Outputs out{std::vector<int64_t>(product({step_columns, batch}), -2),
                Floats(product({step_columns, batch, codes}), kNan),
                Floats(product({step_columns, layers(), batch, channels}), kNan),
                Floats(product({step_columns, layers(), batch, inner}), kNan),
                {},
                false};
    PriorModel m = model();
    m.columns = step_columns;
    PriorBuffers b{};
    b.batch = batch, b.codes = earlier.data(), b.residual = residual.data(), b.hidden = hidden.data();
    b.conv1_above = conv1_above.data(), b.conv2_above = conv2_above.data(), b.input_above = input_above.data();
    b.mix_above = mix_above.data(), b.left_table = left_table.data();
    b.label_terms = has_labels ? label_terms.data() : nullptr;
    b.background = background.data(), b.history_mask = mask.data();
    b.entries = entries, b.width = width, b.column = column;
    for (const auto& [keys, values, row_keys, row_values] : history) {
      out.rows.push_back(
          {Floats(product({step_columns, batch, row}), kNan), Floats(product({step_columns, batch, row}), kNan)});
      b.history.push_back({keys.data(), values.data(), row_keys.data(), row_values.data(), nullptr, nullptr});
    }
    for (size_t block = 0; block < history.size(); ++block)
      b.history[block].row_keys_next = out.rows[block][0].data(),
      b.history[block].row_values_next = out.rows[block][1].data();
    b.uniform = uniform.data(), b.temperature = temperature.data(), b.forced = forced.data();
    b.code = out.code.data(), b.logits = out.logits.data();
    b.residual_next = out.residual.data(), b.hidden_next = out.hidden.data();
    PhaseList list;
    StepMemory memory;
    PriorStepBuilder(m, b, list, memory).build();
    out.complete = threads > 0 ? run_on_threads(kernels(), list, threads) : run(kernels(), list, random);
    return out;
  }
};

inline void test_prior(Random& random) {
  Checks checks("prior");
  int turn = 0;
  for (const bool attention : {false, true})
    for (const int batch : {1, 3, 13})
      for (int repeat = 0; repeat < 4; ++repeat, ++turn) {
        const PriorProblem problem(random, turn, batch, attention);
        checks.problem({{"attention", attention},
                        {"batch", batch},
                        {"reach", problem.reach},
                        {"blocks", problem.blocks},
                        {"stages", problem.stage_count},
                        {"labels", problem.has_labels},
                        {"in place", problem.inplace}});
        const auto expected = problem.run_step(random, 1, 2);
        checks.holds("outcome", 0, expected.complete, "not complete");
        for (const float value : expected.logits) checks.holds("logits", 0, std::isfinite(value), "not finite");
        for (const int threads : {0, 2, 5}) {
          const auto result = problem.run_step(random, threads, 2);
          checks.bit_identical("code", result.code, expected.code);
          checks.bit_identical("logits", result.logits, expected.logits);
          checks.bit_identical("residual", result.residual, expected.residual);
          checks.bit_identical("hidden", result.hidden, expected.hidden);
          for (size_t b = 0; b < result.rows.size(); ++b)
            for (const size_t part : {0, 1}) checks.bit_identical("rows", result.rows[b][part], expected.rows[b][part]);
        }
        // The first column does not depend on the second.
        const auto first = problem.run_step(random, 1, 1);
        const auto of_first = [](const Floats& values) {
          return Floats(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
        };
        checks.bit_identical("first logits", of_first(expected.logits), first.logits);
        checks.bit_identical("first residual", of_first(expected.residual), first.residual);
      }
}
