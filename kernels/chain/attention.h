// One block with attention: see AttentionTask.
#pragma once

#include "../panels/scratch.h"
#include "dense.h"
#include "mix.h"

namespace {

using latentloop::AttentionTask;

inline float dot(const float* a, const float* b, int count) {
  int i = 0;
  Floats sums{};
  for (; i + kLanes <= count; i += kLanes) sums += load(a + i) * load(b + i);
  float sum = 0;
  for (int v = 0; v < kLanes; ++v) sum += sums[v];
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// y += factor * x, for `count` values.
inline void add_scaled(float* y, float factor, const float* x, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, load(y + i) + load(x + i) * factor);
  for (; i < count; ++i) y[i] += factor * x[i];
}

// Turns `count` scores into weights that sum to 1.
inline void softmax(float* scores, int count) {
  float largest = scores[0];
  for (int i = 1; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  float sum = 0;
  int i = 0;
  for (; i < count; i += kLanes) {
    float part[kLanes] = {};
    const int live = count - i < kLanes ? count - i : kLanes;
    for (int v = 0; v < live; ++v) part[v] = scores[i + v] - largest;
    store(part, exp(load(part)));
    for (int v = 0; v < live; ++v) sum += scores[i + v] = part[v];
  }
  for (i = 0; i < count; ++i) scores[i] /= sum;
}

// attended [d] of one sample and head: query [d] over everything before. `scores` has room for every position.
void attend(const AttentionTask& t, const float* query, int sample, int head, float* scores, float* attended) {
  const int d = t.head_width, row = t.heads * d, finished = t.entries - 1,
            count = finished * t.width + t.column + t.own;
  for (int e = 0; e < d; ++e) attended[e] = 0;
  if (count == 0) return;
  float* to = scores;
  for (int entry = 1; entry <= finished; ++entry, to += t.width) {
    const float* keys = t.keys + ((static_cast<size_t>(entry) * t.batch + sample) * t.heads + head) * d * t.width;
    for (int j = 0; j < t.width; ++j) to[j] = 0;
    for (int e = 0; e < d; ++e) add_scaled(to, query[e], keys + static_cast<size_t>(e) * t.width, t.width);
  }
  const size_t within = static_cast<size_t>(sample) * row + static_cast<size_t>(head) * d;
  const size_t column_stride = static_cast<size_t>(t.batch) * row;
  for (int j = 0; j < t.column; ++j) *to++ = dot(query, t.row_keys + j * column_stride + within, d);
  for (int j = 0; j < t.own; ++j) *to++ = dot(query, t.own_keys + j * column_stride + within, d);
  softmax(scores, count);
  const float* weight = scores;
  for (int entry = 1; entry <= finished; ++entry) {
    const float* values = t.values + ((static_cast<size_t>(entry) * t.batch + sample) * t.heads + head) * d * t.width;
    for (int j = 0; j < t.width; ++j) add_scaled(attended, *weight++, values + static_cast<size_t>(j) * d, d);
  }
  for (int j = 0; j < t.column; ++j) add_scaled(attended, *weight++, t.row_values + j * column_stride + within, d);
  for (int j = 0; j < t.own; ++j) add_scaled(attended, *weight++, t.own_values + j * column_stride + within, d);
}

size_t attention_items(const AttentionTask& t) { return 2 * chain_groups(t.batch); }

// Even items: the column's key and value. Odd items: query, attention, and the block's result.
bool attention(const AttentionTask& t, size_t item) {
  static thread_local Scratch scratch;
  const bool is_key = item % 2 == 0;
  const int first = static_cast<int>(item / 2) * kChainRows, rows = chain_rows(t.batch, item / 2);
  const int c = t.channels, width = t.heads * t.head_width, stride = padded(width);
  const size_t positions = static_cast<size_t>(t.entries) * t.width + t.width + t.own;
  const Pointwise& widest = is_key ? t.key : t.result;
  size_t working = pointwise_scratch(widest, rows);
  if (!is_key && pointwise_scratch(t.query, rows) > working) working = pointwise_scratch(t.query, rows);
  float* memory = scratch.at_least(rows * (3 * static_cast<size_t>(c) + 2 + 2 * stride) + positions + working);
  if (memory == nullptr) return false;
  float *out = memory, *joined = out + rows * c, *mapped = joined + rows * (2 * c + 2),
        *attended = mapped + rows * stride;
  float *scores = attended + rows * stride, *work = scores + positions;
  const float* x = t.x + static_cast<size_t>(first) * c;
  for (int i = 0; i < rows * c; ++i) out[i] = x[i];
  add_layers(out, t.gated, is_key ? t.entered : nullptr, t.layers, t.batch, c, first, rows);

  const int in = is_key ? 2 * c + 2 : c + 2;  // [x,] out, background
  for (int r = 0; r < rows; ++r) {
    float* to = joined + static_cast<size_t>(r) * in;
    if (is_key)
      for (int i = 0; i < c; ++i) *to++ = x[r * c + i];
    for (int i = 0; i < c; ++i) *to++ = out[r * c + i];
    for (int i = 0; i < 2; ++i) *to++ = t.background[(first + r) * 2 + i];
  }
  const auto copy = [&](const float* from, float* to) {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < width; ++i) to[static_cast<size_t>(first + r) * width + i] = from[r * stride + i];
  };
  if (is_key) {
    pointwise(t.key, joined, nullptr, rows, first, work);
    dense(t.key_map, joined, in, rows, mapped, stride);
    copy(mapped, t.key_out);
    dense(t.value_map, joined, in, rows, mapped, stride);
    copy(mapped, t.value_out);
    return true;
  }
  pointwise(t.query, joined, nullptr, rows, first, work);
  dense(t.query_map, joined, in, rows, mapped, stride);
  for (int r = 0; r < rows; ++r)
    for (int h = 0; h < t.heads; ++h) {
      const int at = h * t.head_width;
      attend(t, mapped + r * stride + at, first + r, h, scores, attended + r * width + at);
    }
  pointwise(t.result, out, attended, rows, first, work);
  for (int i = 0; i < rows * c; ++i) t.out[static_cast<size_t>(first) * c + i] = out[i];
  return true;
}

}  // namespace
