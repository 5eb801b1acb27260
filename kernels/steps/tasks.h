// The tasks that a step of a prior consists of. Plain data, without a concept of the host that runs them: list.h
// arranges them in phases, and run.h computes one work item of a task.
//
// Axes as in kernels.h. All values are float32, unless a comment says otherwise.
#pragma once

#include "../kernels.h"

namespace latentloop {

constexpr int kMostReach{15};  // taps to the left of the input stage

// out = x * weight + bias.
struct Dense {
  Weights weights;    // [panels, I, panel], scale [panels, panel]; see LeftTask for gated outputs
  const float* bias;  // [O], or null
  int inputs, outputs;
  int panel;  // outputs of a panel: a SIMD vector, or two or four
};

// What follows where channels of x become known: the layers of a block, x_l = x + the sum of the outputs before layer
// l, and the inputs of the products that read x, or the sum after all layers. Every pointer to a result may be null.
struct BlockStart {
  const float* gated;    // [layers, B, C], the outputs of the layers
  float* activated;      // [layers, B, C], ELU of every layer's input
  int layers;            // 0: the sum is x
  bool inplace;          // each layer's output is added to ELU of its input, and x becomes ELU(x) if there is a layer
  float *x, *x_elu;      // [B, C], rows `stride` apart: x and ELU(x)
  float *sum, *sum_elu;  // [B, C], rows `stride` apart
  int stride;
  const float* background;                 // [B, 2], or null
  float *background_out, *background_elu;  // [B, 2], rows `stride` apart: copies
  int batch, channels;
};

// One product of 1 x 1 convolutions: value = x * weight + bias + y * auxiliary. If gated, the outputs are two halves a
// and b, and value = base + a * sigmoid(b). If `elu`, ELU follows.
// Bytes: the weights, read once for up to 32 samples. FLOPs: 2 B per weight. Bound: memory bandwidth for a small B.
struct ProductTask {
  Dense layer;  // if gated, panels of the halves alternate
  const float* x;
  int x_stride;
  Dense auxiliary;  // its packed weights are null if there is none; it has no bias
  const float* y;
  int y_stride;
  const float* label;  // [B, O] rows `label_stride` apart, added to the bias; gated only; or null
  int label_stride;
  const float* base;  // [B, O / 2], gated only
  int base_stride;
  float* out;  // [B, O], or [B, O / 2], rows `out_stride` apart; or null
  int out_stride;
  const BlockStart* next;  // or null
  int batch;
  bool gated, elu;
};

// Attention of one column to S - 1 finished rows (entry 0 is padding), to the columns of this row before `column`, and
// to the own_columns of this step that are already computed. Bytes: the keys and values, and the query's weights.
// FLOPs: 2 per element of keys and values. Bound: memory bandwidth.
struct AttendTask {
  Dense query_map;     // with panels of one SIMD vector
  const float* query;  // [B, I], rows `query_stride` apart
  int query_stride;
  const float* mask;        // [S]; negative: the entry is masked
  const float* keys;        // [S, B, heads, d, W]
  const float* values;      // [S, B, heads, W, d]
  const float* row_keys;    // [W, B, heads d]
  const float* row_values;  // [W, B, heads d]
  const float* own_keys;    // [own_columns, B, heads d]
  const float* own_values;  // [own_columns, B, heads d]
  float* attended_elu;      // [B, heads d], ELU of the result
  int batch, heads, head_width, width, entries, column, own_columns;
};

// The input stage at one column: x = above + the sum over the taps t of table[t][codes[t]].
struct InputTask {
  const float* above;                // [B, C]
  const float* table;                // [taps, table_codes, C]
  const int64_t* codes[kMostReach];  // of every tap, [B]
  int taps, table_codes;
  const BlockStart* next;
  int batch, channels;
};

// The draw of one code per sample: the first code whose cumulative probability at the temperature exceeds `uniform`.
// FLOPs: about 30 B K. Bound: latency; the cumulative sum is sequential.
struct DrawTask {
  const float* logits;       // [B, K]
  const float* uniform;      // [B], in [0, 1)
  const float* temperature;  // [B]
  const int64_t* forced;     // [B]; -1: draw the code
  // Filters: a code that does not pass all of them has the probability 0. Codes are ranked by their logit, equal ones
  // by their index, and the first rank passes always.
  const int64_t* top_k;   // [B]: the first ranks; null: there are no filters
  const float* top_p;     // [B]: the ranks before which there is less than this share of the probability
  const float* min_p;     // [B]: at least this share of the largest probability
  int64_t* code;          // [B]
  const InputTask* next;  // the input stage of the next column, or null
  int batch, codes;
};

struct Task {
  enum Kind { kLeft, kProduct, kAttend, kInput, kDraw } kind;
  union {
    LeftTask left;
    ProductTask product;
    AttendTask attend;
    InputTask input;
    DrawTask draw;
  };
};

}  // namespace latentloop
