// A whole step of a prior, for its n columns up to their draws, as a list of phases.
#pragma once

#include <vector>

#include "builder.h"

namespace latentloop {

// The form and the weights of a step; they are those of all steps of a prior.
struct PriorModel {
  int reach, columns, blocks, block_layers;  // p, n; layers per block, L in all
  int channels, inner, codes;                // C, R, K
  int labels;                                // width of the label terms of all gated blocks; 0 without labels
  bool inplace;                              // see BlockStart and GatedBlock
  Weights conv1_left, conv2_left;
  std::vector<AttentionBlockTask> attention;  // of every block: its weights and, in `attend`, heads and head_width
  std::vector<Dense> mixes;                   // of every block without attention
  std::vector<GatedBlock> stages;             // of the output stack
  Dense logits;

  int layers() const { return blocks * block_layers; }
};

// The inputs and outputs of one step. S entries of the history, W columns of a row.
struct PriorBuffers {
  struct History {
    const float *keys, *values;              // [S, B, heads, d, W], [S, B, heads, W, d]
    const float *row_keys, *row_values;      // [W, B, heads d], of which the columns before the step are read
    float *row_keys_next, *row_values_next;  // [n, B, heads d]
  };

  int batch;
  const int64_t* codes;                // [p, B]
  const float* residual;               // [p + n - 1, L, B, C]
  const float* hidden;                 // [p - 1, L, B, R]
  const float* conv1_above;            // [n, L, B, R]
  const float* conv2_above;            // [n, L, B, 2 C]
  const float* input_above;            // [n, B, C]
  const float* mix_above;              // [n, blocks, C], without attention
  const float* left_table;             // [p, K + 1, C]
  const float* label_terms;            // [B, labels], of the blocks' key, query and result, then of the stages
  const float* background;             // [n, B, 2], with attention, as all that follows
  const float* history_mask;           // [S]
  std::vector<History> history;        // of every block
  int entries, width, column;          // S, W; of the step's first column
  const float *uniform, *temperature;  // [n, B], [B]
  const int64_t* forced;               // [n, B]
  const int64_t* top_k;                // filters: see DrawTask
  const float *top_p, *min_p;
  int64_t* code;         // [n, B]
  float* logits;         // [n, B, K]
  float* residual_next;  // [n, L, B, C]
  float* hidden_next;    // [n, L, B, R]
};

class PriorStepBuilder {
 public:
  PriorStepBuilder(const PriorModel& model, const PriorBuffers& buffers, PhaseList& list, StepMemory& memory)
      : m_(model), b_(buffers), memory_(memory), step_(list, memory, buffers.batch, model.channels) {}

  void build() {
    convolutions();
    const BlockStart* begun = start(0, 0);
    step_.phase(input(0, begun));
    for (int column = 0; column < m_.columns; ++column) {
      for (int block = 0; block < m_.blocks; ++block) begun = add_block(column, block, begun);
      for (size_t s = 0; s < m_.stages.size(); ++s) step_.stage(stage(s), begun, begun);
      step_.logits(m_.logits, begun, b_.logits + column * values(m_.codes));
      DrawTask task = draw(column);
      if (column + 1 < m_.columns) {
        begun = start(column + 1, 0);
        task.next = memory_.copy(input(column + 1, begun));
      }
      step_.phase(task);
    }
  }

 private:
  // Values of all samples at a position with `width` of them.
  size_t values(int width) const { return static_cast<size_t>(b_.batch) * static_cast<size_t>(width); }

  // The convolutions of all layers at all columns.
  void convolutions() {
    const int p = m_.reach, n = m_.columns, layers = m_.layers();
    gated_ = memory_.floats(static_cast<size_t>(n * layers) * values(m_.channels));
    LeftTask conv1{}, conv2{};
    for (LeftTask* task : {&conv1, &conv2})
      task->taps = p, task->columns = n, task->layers = layers, task->batch = b_.batch;
    conv1.x = b_.residual, conv1.split = p + n - 1, conv1.above = b_.conv1_above, conv1.out = b_.hidden_next;
    conv1.weights = m_.conv1_left, conv1.inputs = m_.channels, conv1.outputs = m_.inner;
    conv2.x = b_.hidden, conv2.later = b_.hidden_next, conv2.split = p - 1, conv2.above = b_.conv2_above;
    conv2.weights = m_.conv2_left, conv2.inputs = m_.inner, conv2.outputs = 2 * m_.channels;
    conv2.out = gated_, conv2.gated = true;
    step_.phase(conv1);
    step_.phase(conv2);
  }

  BlockLayers layers(int column, int block) const {
    const size_t at = static_cast<size_t>(column * m_.layers() + block * m_.block_layers) * values(m_.channels);
    return {gated_ + at, b_.residual_next + at, m_.block_layers, m_.inplace};
  }

  // What begins a block, or the output stack after the last block.
  const BlockStart* start(int column, int block) {
    if (block == m_.blocks) return step_.output_start();
    return m_.mixes.empty() ? step_.attention_start(attention(column, block)) : step_.mix_start(layers(column, block));
  }

  // Adds a block; returns what begins after it.
  const BlockStart* add_block(int column, int block, const BlockStart* begun) {
    const BlockStart* next = start(column, block + 1);
    if (m_.mixes.empty()) {
      step_.attention(attention(column, block), next);
      return next;
    }
    Dense conv = m_.mixes[static_cast<size_t>(block)];
    conv.bias = b_.mix_above + static_cast<size_t>(column * m_.blocks + block) * static_cast<size_t>(m_.channels);
    step_.mix(conv, begun, next);
    return next;
  }

  AttentionBlockTask attention(int column, int block) const {
    const PriorBuffers::History& h = b_.history[static_cast<size_t>(block)];
    AttentionBlockTask task = m_.attention[static_cast<size_t>(block)];
    AttendTask& a = task.attend;
    const size_t own = static_cast<size_t>(column) * values(a.heads * a.head_width);
    a.mask = b_.history_mask, a.entries = b_.entries, a.width = b_.width, a.column = b_.column;
    a.keys = h.keys, a.values = h.values, a.row_keys = h.row_keys, a.row_values = h.row_values;
    a.own_keys = h.row_keys_next, a.own_values = h.row_values_next, a.own_columns = column;
    task.key_out = h.row_keys_next + own, task.value_out = h.row_values_next + own;
    task.layers = layers(column, block);
    task.background = b_.background + static_cast<size_t>(column) * values(2);
    const int width = task.key.conv2.outputs + task.query.conv2.outputs + task.result.conv2.outputs;
    int label = block * width;
    for (GatedBlock* gated : {&task.key, &task.query, &task.result}) {
      set_label(*gated, label);
      label += gated->conv2.outputs;
    }
    return task;
  }

  GatedBlock stage(size_t index) const {
    GatedBlock block = m_.stages[index];
    set_label(block, m_.labels - static_cast<int>(m_.stages.size() - index) * block.conv2.outputs);
    return block;
  }

  // The block's label terms begin at column `at`.
  void set_label(GatedBlock& block, int at) const {
    if (b_.label_terms) block.label = b_.label_terms + at, block.label_stride = m_.labels;
  }

  InputTask input(int column, const BlockStart* next) const {
    InputTask task = step_.input(b_.input_above + static_cast<size_t>(column) * values(m_.channels), next);
    task.table = b_.left_table, task.table_codes = m_.codes + 1, task.taps = m_.reach;
    for (int tap = 0; tap < m_.reach; ++tap) {
      const int at = column + tap, own = at - m_.reach;  // own: a column of this step
      task.codes[tap] = own < 0 ? b_.codes + at * b_.batch : b_.code + own * b_.batch;
    }
    return task;
  }

  DrawTask draw(int column) const {
    const int at = column * b_.batch;
    DrawTask task{};
    task.logits = b_.logits + static_cast<size_t>(column) * values(m_.codes);
    task.uniform = b_.uniform + at, task.temperature = b_.temperature;
    task.forced = b_.forced + at, task.code = b_.code + at;
    task.top_k = b_.top_k, task.top_p = b_.top_p, task.min_p = b_.min_p;
    task.batch = b_.batch, task.codes = m_.codes;
    return task;
  }

  const PriorModel& m_;
  const PriorBuffers& b_;
  StepMemory& memory_;
  StepBuilder step_;
  float* gated_{};
};

}  // namespace latentloop
