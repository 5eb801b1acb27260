// The tasks that the CPU kernels compute, and the table of kernels that each instruction set provides. Includes no
// header of the C++ library or of a framework.
//
// Axes: W columns of the image row, n columns of a step, L causal layers, B batch, I inputs, O outputs, C channels,
// p reach of a convolution, k = 2p + 1 its kernel size; N vectors of D dimensions, K codewords.
// A task consists of independent work items, which threads may run in any order.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace latentloop {

constexpr int kPackedSlack{16};  // bytes after packed weights that a load of 3-byte weights may read

// Packed weights: panels of neighbouring outputs. A weight has `bytes` bytes: 4 is float32; 1 to 3 are fixed point with
// one scale per output.
struct Weights {
  const uint8_t* packed;
  const float* scale;
  int bytes;
};

// The p taps to the left of a position, for n neighbouring columns: out = activation(above + sum over taps of
// x * weight).
// Bytes: p L I O weights, read once. FLOPs: 2 n B p L I O. Bound: memory bandwidth for n B up to about 8.
struct LeftTask {
  const float* x;      // the first `split` columns of [p + n - 1, L, B, I]; column 0 is p columns before the first of n
  const float* later;  // the columns from `split` on; not read if there are none
  const float* above;  // [n, L, B, O]
  Weights weights;     // [L, panels, p, I, panel], scale [L, panels, panel]; if gated, panels of the halves a and b
                       // alternate
  float* out;          // [n, L, B, O]; if gated [n, L, B, O / 2]
  int taps, columns, split, layers, batch, inputs, outputs;
  bool gated;  // out = a * sigmoid(b) for the halves a and b of O; otherwise out = ELU(sum)
};

// One product of the convolution over the rows above: a linear combination of input rows times the matching linear
// combination of the weights' rows.
struct AboveGroup {
  int index;         // of the combined weights among the packed groups
  int row;           // of the k - 1 rows
  int other;         // a second row, which is multiplied by
  float other_sign;  // this and added; 0: the group has one row
  float this_row;    // coefficient of the product in this row of outputs; 0: not used there
  float next_row;    // coefficient in the next row of outputs; must be 1 if `this_row` is 0
};

// The k - 1 full rows above, for all columns, by the Cook-Toom algorithm along the columns (Winograd's F(m, k)):
// m + k - 1 products give m columns, for which the direct form needs m k.
// With k = 5 also across pairs of rows, by F(2, 3): two neighbouring rows of outputs share three of their four rows
// above, so that 6 groups of products replace 8. The first row of a pair computes five of the groups, and stores in
// `next_partial` their part in the second row.
// Bytes: (m + k - 1) groups L I O weights. FLOPs: 2 ceil(W / m) B times that. Bound: compute for W B / m above
// about 20.
struct AboveTask {
  const float* const* rows;  // k - 1 pointers to [W + 2p, L, B, I], the farthest row first
  Weights weights;           // [L, panels, m + k - 1, packed groups, I, panel], scale [L, panels, m + k - 1, panel]
  const float* bias;         // [L, O]
  const float* partial;      // [W, L, B, O], `next_partial` of the row before; or null
  float* out;                // [W, L, B, O]
  float* next_partial;       // [W, L, B, O], or null
  const AboveGroup* groups;
  int group_count, packed_groups;
  int kernel, tile, width, layers, batch, inputs, outputs;  // tile: m
  const float* inputs_transform;                            // B^T [m + k - 1, m + k - 1]
  const float* outputs_transform;                           // A^T [m, m + k - 1]
};

// The codeword nearest to each vector, as nearest_codebook/arguments.h defines it.
// Bytes: 4 D (N + K) read, 8 N written. FLOPs: 2 N K D. Bound: compute for N above about 10.
struct NearestTask {
  const float* z;           // [N, D]; if positions > 0, [N / positions, D, positions]
  const float* packed;      // [panels, D, panel], 0 beyond the last codeword
  const float* half_norms;  // [panels, panel], -|e_k|^2 / 2, or -infinity for a codeword that is never the nearest
  const uint32_t* coarse;   // [panels, D, panel / 2], bfloat16: codewords k and, in the upper half, k + panel / 2
  float largest;            // upper bound of |e_k| over the codewords with a finite half norm
  int64_t* index;           // [N]; -1: the vector has no nearest codeword
  float* distance;          // [N], or null
  float* codeword;          // shaped as z, or null
  int64_t vectors, positions;
  int dimensions, codewords;
};

template <typename Task>
struct Kernel {
  size_t (*items)(const Task&);           // number of work items
  bool (*run)(const Task&, size_t item);  // false: out of memory
};

struct Task;  // of a step: see steps/tasks.h
enum Outcome { kComplete, kOutOfMemory, kNoSuchCode };

struct Kernels {
  const char* name;
  int panel;  // outputs of one panel
  Kernel<AboveTask> above;
  Kernel<NearestTask> nearest;
  size_t (*step_items)(const Task&);
  Outcome (*step_item)(const Task&, size_t item);
};

// One definition per instruction set of the build.
const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512vbmi();

}  // namespace latentloop
