// The rows above, for every column and layer: see AboveTask.
#pragma once

#include "../kernels.h"
#include "../panels/scratch.h"
#include "left.h"

namespace {

using latentloop::AboveTask;

constexpr int kMostPoints{31};  // of the direct form, which large kernels use
constexpr int kMostTile{4};
constexpr int kAboveRows{64};  // rows (tile of columns, batch) handled at once
constexpr int kGroup{8};       // panels of one item: they share the transformed inputs

inline int groups(const AboveTask& t) { return (panels(t.outputs) + kGroup - 1) / kGroup; }

size_t above_items(const AboveTask& t) { return static_cast<size_t>(t.layers) * groups(t); }

// transformed [points, k - 1, count, I]: rows first .. first + count of one layer, each the transform of its tile.
void transform_inputs(const AboveTask& t, int layer, int first, int count, float* transformed) {
  const int points = t.tile + t.kernel - 1, above = t.kernel - 1, columns = t.width + t.kernel - 1;
  const size_t column_stride = static_cast<size_t>(t.layers) * t.batch * t.inputs;
  const size_t point_stride = static_cast<size_t>(above) * count * t.inputs;
  for (int a = 0; a < above; ++a)
    for (int r = 0; r < count; ++r) {
      const int tile = (first + r) / t.batch, b = (first + r) % t.batch, column = tile * t.tile;
      const int live = columns - column < points ? columns - column : points;  // beyond the row is nothing
      const float* from = t.rows[a] + ((static_cast<size_t>(column) * t.layers + layer) * t.batch + b) * t.inputs;
      float* to = transformed + (static_cast<size_t>(a) * count + r) * t.inputs;
      int i = 0;
      for (; i + kLanes <= t.inputs; i += kLanes) {
        Floats in[kMostPoints];
        for (int c = 0; c < points; ++c) in[c] = c < live ? load(from + c * column_stride + i) : Floats{};
        for (int q = 0; q < points; ++q) {
          Floats sum{};
          for (int c = 0; c < points; ++c) {
            const float factor = t.inputs_transform[q * points + c];
            if (factor != 0) sum += in[c] * factor;
          }
          store(to + q * point_stride + i, sum);
        }
      }
      for (; i < t.inputs; ++i)
        for (int q = 0; q < points; ++q) {
          float sum = 0;
          for (int c = 0; c < live; ++c) sum += from[c * column_stride + i] * t.inputs_transform[q * points + c];
          to[q * point_stride + i] = sum;
        }
    }
}

// One panel of outputs for rows first .. first + count.
void above_panel(const AboveTask& t, int layer, int q, int first, int count, const float* transformed) {
  const int points = t.tile + t.kernel - 1, above = t.kernel - 1;
  const size_t panel = static_cast<size_t>(layer) * panels(t.outputs) + q;
  const size_t row_bytes = static_cast<size_t>(t.inputs) * kPanel * t.weights.bytes;
  const uint8_t* weights = t.weights.packed + panel * points * above * row_bytes;
  float sums[kAboveRows * kPanel], out[kMostTile * kAboveRows * kPanel];
  for (int s = 0; s < t.tile * count * kPanel; ++s) out[s] = 0;
  const float* x[kAboveRows];
  for (int point = 0; point < points; ++point) {
    for (int s = 0; s < count * kPanel; ++s) sums[s] = 0;
    for (int a = 0; a < above; ++a, weights += row_bytes) {
      for (int r = 0; r < count; ++r)
        x[r] = transformed + ((static_cast<size_t>(point) * above + a) * count + r) * t.inputs;
      multiply_rows(t.weights.bytes, x, count, weights, t.inputs, sums, true);
    }
    if (t.weights.bytes != 4) scale_sums(sums, count, t.weights.scale + (panel * points + point) * kPanel);
    for (int m = 0; m < t.tile; ++m) {
      const float factor = t.outputs_transform[m * points + point];
      if (factor == 0) continue;
      float* to = out + static_cast<size_t>(m) * count * kPanel;
      for (int s = 0; s < count * kPanel; s += kLanes) store(to + s, load(to + s) + load(sums + s) * factor);
    }
  }
  const int width = t.outputs - q * kPanel < kPanel ? t.outputs - q * kPanel : kPanel;
  const float* bias = t.bias + static_cast<size_t>(layer) * t.outputs + q * kPanel;
  for (int m = 0; m < t.tile; ++m)
    for (int r = 0; r < count; ++r) {
      const int column = (first + r) / t.batch * t.tile + m, b = (first + r) % t.batch;
      if (column >= t.width) continue;
      const float* from = out + (static_cast<size_t>(m) * count + r) * kPanel;
      float* to = t.out + ((static_cast<size_t>(column) * t.layers + layer) * t.batch + b) * t.outputs + q * kPanel;
      for (int o = 0; o < width; ++o) to[o] = from[o] + bias[o];
    }
}

bool above(const AboveTask& t, size_t item) {
  static thread_local Scratch scratch;
  const int layer = static_cast<int>(item / groups(t)), group = static_cast<int>(item % groups(t));
  const int rows = (t.width + t.tile - 1) / t.tile * t.batch, points = t.tile + t.kernel - 1;
  const int most = rows < kAboveRows ? rows : kAboveRows;
  float* transformed = scratch.at_least(static_cast<size_t>(points) * (t.kernel - 1) * most * t.inputs);
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
