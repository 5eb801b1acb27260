// What one instruction set provides, and the tasks that its kernels run. Free of host and framework headers.
//
// Axes: W columns, n columns of a step, L causal layers, B batch, I inputs, O outputs, C channels, p reach, k = 2p + 1;
// N vectors of D dimensions, K codewords.
// A task is cut into independent items; any thread may run any of them.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace latentloop {

constexpr int kPackedSlack{16};  // bytes after packed weights that a load of 3-byte ones may read

// Packed weights: panels of outputs, `bytes` a weight (4: float32; 1 to 3: fixed point, and the scale of every output).
struct Weights {
  const uint8_t* packed;
  const float* scale;
  int bytes;
};

// The p taps to the left, for n neighbouring columns: out = activation(above + sum over taps of x * weight).
// Bytes: p L I O weights, once. FLOPs: 2 n B p L I O. Floor: the bytes, for n B up to about 8.
struct LeftTask {
  const float* x;      // [p + n - 1, L, B, I], column 0 is p columns before the first of the n
  const float* above;  // [n, L, B, O]
  Weights weights;  // [L, panels, p, I, panel], scale [L, panels, panel]; gated: panels of the halves a and b alternate
  float* out;       // [n, L, B, O], gated: [n, L, B, O / 2]
  int taps, columns, layers, batch, inputs, outputs;
  bool gated;  // out = a * sigmoid(b) for the halves a, b of O; otherwise out = ELU
};

// One product of the rows above: of a combination of rows with the matching combination of the weights' rows.
struct AboveGroup {
  int index;    // among the packed groups
  int row;      // of the k - 1 rows
  int other;    // another row, added with
  float sign;   // this sign; 0: none
  float here;   // the product's sign in this row of outputs, 0: it has no part in it
  float below;  // and in the next; 1 where `here` is 0
};

// The k - 1 full rows above, for all columns, by the Cook-Toom algorithm along the columns (Winograd's F(m, k)):
// m + k - 1 products serve m columns, where the direct form takes m k.
// With k = 5 also across pairs of rows, F(2, 3): of the four rows above two rows of outputs three taps are shared, so 6
// groups of products do for 8. The first row of a pair takes five of them and leaves `below` what it has of the second.
// Bytes: (m + k - 1) groups L I O weights. FLOPs: 2 ceil(W / m) B times that. Floor: FLOPs for W B / m above about 20.
struct AboveTask {
  const float* const* rows;  // k - 1 times [W + 2p, L, B, I], the farthest first
  Weights weights;           // [L, panels, m + k - 1, packed groups, I, panel], scale [L, panels, m + k - 1, panel]
  const float* bias;         // [L, O]
  const float* partial;      // [W, L, B, O], what the row before left; or null
  float* out;                // [W, L, B, O]
  float* below;              // [W, L, B, O], or null
  const AboveGroup* groups;
  int group_count, packed_groups;
  int kernel, tile, width, layers, batch, inputs, outputs;
  const float* inputs_transform;   // [m + k - 1, m + k - 1]
  const float* outputs_transform;  // [m, m + k - 1]
};

// out = x * weight + bias.
struct Dense {
  Weights weights;    // [panels, I, panel], scale [panels, panel]
  const float* bias;  // [O], or null
  int inputs, outputs;
};

// A gated 1 x 1 block: x + a * sigmoid(b), where (a, b) = conv2(ELU(conv1(ELU(x)) + auxiliary(ELU(y)))) + label.
// `inplace`: ELU(x) + a * sigmoid(b).
struct Pointwise {
  Dense conv1, conv2;
  Dense auxiliary;     // its packed weights are null where the block has none
  const float* label;  // [B, 2 width], or null
  bool inplace;
};

// One column through all blocks of a prior without attention: per block x += its layers' gated outputs, then
// x = x * mix + mix_above. `inplace`: every layer's output is added to the ELU of its input. Bytes: blocks C^2 weights.
// FLOPs: 2 B times that. Floor: the bytes, one block after the other.
struct MixTask {
  const float* x;          // [B, C]
  const float* gated;      // [L, B, C]
  const float* mix_above;  // [blocks, C]
  const Dense* mixes;      // per block
  float* out;              // [B, C]
  float* entered;          // [L, B, C], ELU of every layer's input
  int blocks, layers, batch, channels;
  bool inplace;
};

// One column through one block with attention over S - 1 finished rows (entry 0 is void), the columns of this row
// before `column`, and the own_columns of this step already computed. `inplace` as in MixTask; the key then reads
// ELU(x). Bytes: about 15 C^2 weights, and the keys and values. Floor: the bytes. Two independent halves: key, and the
// rest.
struct AttentionTask {
  const float* x;           // [B, C]
  const float* gated;       // [layers, B, C]: the block's layers
  const float* background;  // [B, 2]
  const float* mask;        // [S], negative: an entry that is not seen
  const float* keys;        // [S, B, heads, d, W]
  const float* values;      // [S, B, heads, W, d]
  const float* row_keys;    // [W, B, heads d]
  const float* row_values;  // [W, B, heads d]
  const float* own_keys;    // [own, B, heads d]
  const float* own_values;  // [own, B, heads d]
  Pointwise key, query, result;
  Dense query_map, key_map, value_map;
  float* out;        // [B, C]
  float* entered;    // [layers, B, C], ELU of every layer's input
  float* key_out;    // [B, heads d]
  float* value_out;  // [B, heads d]
  int layers, batch, channels, heads, head_width, width, entries, column, own;
  bool inplace;  // also of key, query and result
};

// logits = ELU(x) * weight + bias; the first code whose cumulative mass at the temperature exceeds uniform * total.
struct DrawTask {
  const float* x;  // [B, C]
  Dense logits;
  const float* uniform;      // [B]
  const float* temperature;  // [B]
  const int64_t* forced;     // [B], -1: draw
  int64_t* code;             // [B]
  float* out;                // [B, K], the logits
  int batch;
};

// The codeword nearest to each vector: see nearest_codebook/arguments.h for what that means.
// Bytes: 4 D (N + K), 8 N. FLOPs: 2 N K D. Floor: the FLOPs, for N above about 10.
struct NearestTask {
  const float* z;           // [N, D]; with `positions` > 0 [N / positions, D, positions]
  const float* packed;      // [panels, D, panel], 0 beyond the last codeword
  const float* half_norms;  // [panels, panel], -|e_k|^2 / 2, or -infinity: never the nearest
  const uint32_t* coarse;   // [panels, D, panel / 2], bfloat16: codewords k and, in the upper half, k + panel / 2
  float largest;            // |e_k| of codewords that may be the nearest, at most
  int64_t* index;           // [N], -1: none
  float* distance;          // [N], or null
  float* codeword;          // as z, or null
  int64_t vectors, positions;
  int dimensions, codewords;
};

template <typename Task>
struct Kernel {
  size_t (*items)(const Task&);
  bool (*run)(const Task&, size_t item);  // false: out of memory
};

struct Kernels {
  const char* name;
  int panel;  // outputs of one panel
  Kernel<LeftTask> left;
  Kernel<AboveTask> above;
  Kernel<MixTask> mix;
  Kernel<AttentionTask> attention;
  Kernel<DrawTask> draw;
  Kernel<NearestTask> nearest;
};

// Defined once per instruction set that the build has.
const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace latentloop
