// The kernel of AboveTask: the causal convolution over the rows above, for every column and layer. kernels.h gives its
// bytes, FLOPs and bound.
//
// One work item is up to kGroup panels of outputs of one layer. For up to kAboveRows rows (tile of columns, sample) at
// a time it (1) transforms the inputs with B^T, (2) multiplies them with each panel's transformed weights, point by
// point, and (3) transforms the sums back with A^T and writes them.
#pragma once

#include "../gemm/microkernel.h"
#include "../gemm/thread_scratch.h"
#include "../kernels.h"

namespace {

using latentloop::AboveGroup;
using latentloop::AboveTask;

constexpr int kMostTile{4};
constexpr int kLine{64 / LATENTLOOP_VECTOR_BYTES};  // vectors per cache line
constexpr int kAboveRows{32};                       // rows (tile of columns, sample) that are processed at once
constexpr int kGroup{16};                           // panels of one item; they share the transformed inputs

inline int groups(const AboveTask& t) { return (panels(t.outputs) + kGroup - 1) / kGroup; }

size_t above_items(const AboveTask& t) { return static_cast<size_t>(t.layers) * groups(t); }

// out = B^T in, for one vector of channels at the tile's Points columns. The rows of B^T belong to the points 0, pairs
// (a, -a) and infinity. Therefore the first row has only even columns, the last only odd ones, and the rows of a pair
// are the sum and the difference of the same two halves.
template <int Points>
inline void transform(const Floats* in, const float* matrix, Floats* out) {
  Floats first{}, last{};
  for (int c = 0; c < Points; c += 2) {
    first += in[c] * matrix[c];
    last += in[c + 1] * matrix[(Points - 1) * Points + c + 1];
  }
  out[0] = first;
  out[Points - 1] = last;
  for (int row = 1; row < Points - 1; row += 2) {
    Floats even{}, odd{};
    for (int c = 1; c < Points - 1; c += 2) {
      odd += in[c] * matrix[row * Points + c];
      even += in[c + 1] * matrix[row * Points + c + 1];
    }
    out[row] = even + odd;
    out[row + 1] = even - odd;
  }
}

// Writes transformed [points, groups, count, I]: the transformed tiles of rows first .. first + count of one layer.
template <int Points>
void transform_rows(const AboveTask& t, int layer, int first, int count, float* transformed) {
  const int columns = t.width + t.kernel - 1;
  const size_t column_stride = static_cast<size_t>(t.layers) * t.batch * t.inputs;
  const size_t point_stride = static_cast<size_t>(t.group_count) * count * t.inputs;
  for (int g = 0; g < t.group_count; ++g)
    for (int r = 0; r < count; ++r) {
      const AboveGroup& group = t.groups[g];
      const int column = (first + r) / t.batch * t.tile, b = (first + r) % t.batch;
      const int live = columns - column < Points ? columns - column : Points;  // columns beyond the row are 0
      const size_t start = ((static_cast<size_t>(column) * t.layers + layer) * t.batch + b) * t.inputs;
      const float *from = t.rows[group.row] + start, *other = t.rows[group.other] + start;
      float* to = transformed + (static_cast<size_t>(g) * count + r) * t.inputs;
      // One cache line of channels at a time: the columns' stride maps them to few cache sets of L1.
      for (int i = 0; i < t.inputs; i += kLine * kLanes) {
        Floats in[kLine][Points] = {}, out[kLine][Points];
        int channels[kLine];
        for (int v = 0; v < kLine; ++v) channels[v] = part_of(t.inputs - i - v * kLanes);
        for (int c = 0; c < live; ++c)
          for (int v = 0; v < kLine; ++v) {
            const size_t at = c * column_stride + i + v * kLanes;
            in[v][c] = load_part(from + at, channels[v]);
            if (group.other_sign != 0) in[v][c] += load_part(other + at, channels[v]) * group.other_sign;
          }
        for (int v = 0; v < kLine; ++v) transform<Points>(in[v], t.inputs_transform, out[v]);
        for (int q = 0; q < Points; ++q)
          for (int v = 0; v < kLine; ++v) store_part(to + q * point_stride + i + v * kLanes, out[v][q], channels[v]);
      }
    }
}

// The direct form, which has no transform: copies the window of every tap, for groups of one row.
void copy_rows(const AboveTask& t, int layer, int first, int count, float* windows) {
  float* to = windows;
  for (int tap = 0; tap < t.kernel; ++tap)
    for (int g = 0; g < t.group_count; ++g)
      for (int r = 0; r < count; ++r, to += t.inputs) {
        const int column = (first + r) / t.batch + tap, b = (first + r) % t.batch;
        const size_t at = ((static_cast<size_t>(column) * t.layers + layer) * t.batch + b) * t.inputs;
        memcpy(to, t.rows[t.groups[g].row] + at, sizeof(float) * t.inputs);
      }
}

void transform_inputs(const AboveTask& t, int layer, int first, int count, float* transformed) {
  switch (t.tile == 1 ? 0 : t.tile + t.kernel - 1) {
    case 6:
      return transform_rows<6>(t, layer, first, count, transformed);
    case 8:
      return transform_rows<8>(t, layer, first, count, transformed);
    default:
      return copy_rows(t, layer, first, count, transformed);
  }
}

inline void clear(float* values, int count) {
  for (int s = 0; s < count; s += kLanes) store(values + s, Floats{});
}

// to += from * factor, for whole panels.
inline void add_sums(float* to, const float* from, float factor, int count) {
  for (int s = 0; s < count; s += kLanes) store(to + s, load(to + s) + load(from + s) * factor);
}

// out [m, count, panel] += sums [count, panel] times the column of A^T that belongs to the point.
inline void transform_outputs(const AboveTask& t, int point, int count, const float* sums, float* out) {
  const int points = t.tile + t.kernel - 1;
  for (int m = 0; m < t.tile; ++m) {
    const float factor = t.outputs_transform[m * points + point];
    if (factor != 0) add_sums(out + static_cast<size_t>(m) * count * kPanel, sums, factor, count * kPanel);
  }
}

// Writes panel q: to [W, L, B, O] = from [m, count, panel] + bias + partial. `bias` and `partial` may be null.
inline void write_panel(const AboveTask& t, int layer, int q, int first, int count, const float* from,
                        const float* bias, const float* partial, float* to) {
  const int width = t.outputs - q * kPanel < kPanel ? t.outputs - q * kPanel : kPanel;
  for (int m = 0; m < t.tile; ++m)
    for (int r = 0; r < count; ++r, from += kPanel) {
      const int column = (first + r) / t.batch * t.tile + m, b = (first + r) % t.batch;
      if (column >= t.width) continue;
      const size_t at = ((static_cast<size_t>(column) * t.layers + layer) * t.batch + b) * t.outputs + q * kPanel;
      for (int o = 0; o < width; ++o) {
        float value = from[o];
        if (bias) value += bias[static_cast<size_t>(layer) * t.outputs + q * kPanel + o];
        if (partial) value += partial[at + o];
        to[at + o] = value;
      }
    }
}

// Computes panel q of the outputs for rows first .. first + count.
void above_panel(const AboveTask& t, int layer, int q, int first, int count, const float* transformed) {
  const int points = t.tile + t.kernel - 1, row = t.inputs * kPanel * t.weights.bytes;
  const size_t panel = static_cast<size_t>(layer) * panels(t.outputs) + q;
  const uint8_t* weights = t.weights.packed + panel * points * t.packed_groups * row;
  float out[kMostTile * kAboveRows * kPanel], next_out[kMostTile * kAboveRows * kPanel];
  float sums[kAboveRows * kPanel], next_sums[kAboveRows * kPanel], both_sums[kAboveRows * kPanel];  // of one point
  const int live = count * kPanel;
  clear(out, t.tile * live);
  if (t.next_partial) clear(next_out, t.tile * live);
  const float* x[kAboveRows];
  for (int point = 0; point < points; ++point, weights += static_cast<size_t>(t.packed_groups) * row) {
    clear(sums, live);
    if (t.next_partial) clear(next_sums, live);
    for (int g = 0; g < t.group_count; ++g) {
      const AboveGroup& group = t.groups[g];
      const bool is_both = t.next_partial && group.this_row != 0 && group.next_row != 0;
      float* to = is_both ? both_sums : group.this_row != 0 ? sums : next_sums;
      if (is_both) clear(both_sums, live);
      for (int r = 0; r < count; ++r)
        x[r] = transformed + ((static_cast<size_t>(point) * t.group_count + g) * count + r) * t.inputs;
      const int following = g + 1 < t.group_count ? t.groups[g + 1].index : t.packed_groups + t.groups[0].index;
      multiply_rows(t.weights.bytes, x, count, weights + static_cast<size_t>(group.index) * row, t.inputs, to,
                    weights + static_cast<size_t>(following) * row);
      if (!is_both) continue;
      add_sums(sums, both_sums, group.this_row, live);
      add_sums(next_sums, both_sums, group.next_row, live);
    }
    const float* scale = t.weights.scale + (panel * points + point) * kPanel;
    if (t.weights.bytes != 4) scale_sums(sums, count, scale);
    transform_outputs(t, point, count, sums, out);
    if (!t.next_partial) continue;
    if (t.weights.bytes != 4) scale_sums(next_sums, count, scale);
    transform_outputs(t, point, count, next_sums, next_out);
  }
  write_panel(t, layer, q, first, count, out, t.bias, t.partial, t.out);
  if (t.next_partial) write_panel(t, layer, q, first, count, next_out, nullptr, nullptr, t.next_partial);
}

bool above(const AboveTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  const int layer = static_cast<int>(item / groups(t)), group = static_cast<int>(item % groups(t));
  const int rows = (t.width + t.tile - 1) / t.tile * t.batch, points = t.tile + t.kernel - 1;
  const int most = rows < kAboveRows ? rows : kAboveRows;
  float* transformed = scratch.at_least(static_cast<size_t>(points) * t.group_count * most * t.inputs);
  if (transformed == nullptr) return false;
  const int begin = group * kGroup, end = begin + kGroup < panels(t.outputs) ? begin + kGroup : panels(t.outputs);
  for (int first = 0; first < rows; first += kAboveRows) {
    const int count = rows - first < kAboveRows ? rows - first : kAboveRows;
    transform_inputs(t, layer, first, count, transformed);
    for (int q = begin; q < end; ++q) above_panel(t, layer, q, first, count, transformed);
  }
  return true;
}

}  // namespace
