// The kernel of AttentionTask: one block with attention, for one column. kernels.h gives its bytes, FLOPs and bound.
//
// Each group of samples has two independent work items: even items compute the column's key and value, odd items the
// query, the attention and the block's output.
#pragma once

#include "../gemm/thread_scratch.h"
#include "gated_block.h"
#include "residual_blocks.h"

namespace {

using latentloop::AttentionTask;

inline float sum_lanes(Floats v) {
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += v[lane];
  return sum;
}

inline float dot(const float* a, const float* b, int count) {
  int i = 0;
  Floats sums{};
  for (; i + kLanes <= count; i += kLanes) sums += load(a + i) * load(b + i);
  float sum = sum_lanes(sums);
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Replaces `count` scores by exp(score - largest score), and returns their sum.
inline float exponentials(float* scores, int count) {
  float largest = scores[0];
  int i = 0;
  if (count >= kLanes) {
    Floats maxima = load(scores);
    for (i = kLanes; i + kLanes <= count; i += kLanes) {
      const Floats next = load(scores + i);
      maxima = next > maxima ? next : maxima;
    }
    for (int lane = 0; lane < kLanes; ++lane) largest = maxima[lane] > largest ? maxima[lane] : largest;
  }
  for (; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  Floats sums{};
  for (i = 0; i + kLanes <= count; i += kLanes) {
    const Floats weight = exp(load(scores + i) - largest);
    store(scores + i, weight);
    sums += weight;
  }
  float total = sum_lanes(sums);
  if (i < count) {
    float part[kLanes] = {};
    for (int v = 0; i + v < count; ++v) part[v] = scores[i + v] - largest;
    store(part, exp(load(part)));
    for (int v = 0; i + v < count; ++v) total += scores[i + v] = part[v];
  }
  return total;
}

// Adds to y [width] the sum of weights[j] * x_j over j < count. x_j [width] begins at x + j * stride. The sums stay in
// registers.
inline void add_weighted(float* y, const float* weights, const float* x, size_t stride, int count, int width) {
  int i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    Floats first = load(y + i), second = load(y + i + kLanes);
    for (int j = 0; j < count; ++j) {
      first += load(x + j * stride + i) * weights[j];
      second += load(x + j * stride + i + kLanes) * weights[j];
    }
    store(y + i, first);
    store(y + i + kLanes, second);
  }
  for (; i < width; i += kLanes) {
    const int live = part_of(width - i);
    Floats sum = load_part(y + i, live);
    for (int j = 0; j < count; ++j) sum += load_part(x + j * stride + i, live) * weights[j];
    store_part(y + i, sum, live);
  }
}

// Attention of one sample: query [heads d] over all earlier positions -> attended [heads d]; zeros if there are none.
// `scores` is scratch memory for the scores [heads, positions] and the totals [heads].
// The loops over finished rows iterate over entries, then over heads, so they read keys and values in memory order.
void attend(const AttentionTask& t, const float* query, int sample, float* scores, float* attended) {
  const int d = t.head_width, query_size = t.heads * d;
  const auto is_seen = [&](int entry) { return t.mask[entry] >= 0; };
  int finished_rows = 0;
  for (int entry = 0; entry < t.entries; ++entry) finished_rows += is_seen(entry);
  const int positions = finished_rows * t.width + t.column + t.own_columns;
  for (int e = 0; e < query_size; ++e) attended[e] = 0;
  if (positions == 0) return;
  const size_t head_size = static_cast<size_t>(d) * t.width, entry_size = t.batch * t.heads * head_size;
  const size_t sample_offset = sample * t.heads * head_size, row_offset = static_cast<size_t>(sample) * query_size;
  const size_t column_stride = static_cast<size_t>(t.batch) * query_size;

  // 1. Scores of the finished rows.
  for (int entry = 0, slot = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    for (int h = 0; h < t.heads; ++h) {
      float* to = scores + static_cast<size_t>(h) * positions + slot * t.width;
      for (int j = 0; j < t.width; ++j) to[j] = 0;
      add_weighted(to, query + h * d, t.keys + entry * entry_size + sample_offset + h * head_size,
                   static_cast<size_t>(t.width), d, t.width);
    }
    ++slot;
  }

  // 2. Scores of this row's earlier columns; exponentials of all scores.
  float* totals = scores + static_cast<size_t>(t.heads) * positions;
  for (int h = 0; h < t.heads; ++h) {
    float *head_scores = scores + static_cast<size_t>(h) * positions, *to = head_scores + finished_rows * t.width;
    const size_t head_offset = row_offset + static_cast<size_t>(h) * d;
    for (int j = 0; j < t.column; ++j) *to++ = dot(query + h * d, t.row_keys + j * column_stride + head_offset, d);
    for (int j = 0; j < t.own_columns; ++j) *to++ = dot(query + h * d, t.own_keys + j * column_stride + head_offset, d);
    totals[h] = exponentials(head_scores, positions);
  }

  // 3. Weighted sum of the finished rows' values.
  for (int entry = 0, slot = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    for (int h = 0; h < t.heads; ++h)
      add_weighted(attended + h * d, scores + static_cast<size_t>(h) * positions + slot * t.width,
                   t.values + entry * entry_size + sample_offset + h * head_size, static_cast<size_t>(d), t.width, d);
    ++slot;
  }

  // 4. Weighted sum of this row's values; normalisation.
  for (int h = 0; h < t.heads; ++h) {
    const float* weights = scores + static_cast<size_t>(h) * positions + finished_rows * t.width;
    const size_t head_offset = row_offset + static_cast<size_t>(h) * d;
    float* to = attended + h * d;
    add_weighted(to, weights, t.row_values + head_offset, column_stride, t.column, d);
    if (t.own_columns)
      add_weighted(to, weights + t.column, t.own_values + head_offset, column_stride, t.own_columns, d);
    for (int e = 0; e < d; ++e) to[e] /= totals[h];
  }
}

size_t attention_items(const AttentionTask& t) { return 2 * sample_groups(t.batch); }

bool attention(const AttentionTask& t, size_t item) {
  // 1. Scratch memory.
  static thread_local ThreadScratch scratch;
  const bool is_key = item % 2 == 0;
  const int first = static_cast<int>(item / 2) * kMostSamples, rows = group_samples(t.batch, item / 2);
  const int c = t.channels, width = t.heads * t.head_width, stride = padded(width);
  const size_t positions = static_cast<size_t>(t.entries + 1) * t.width + t.own_columns;
  size_t block_floats = gated_block_scratch(is_key ? t.key : t.result, rows);
  if (!is_key && gated_block_scratch(t.query, rows) > block_floats) block_floats = gated_block_scratch(t.query, rows);
  float* memory =
      scratch.at_least(rows * (3 * static_cast<size_t>(c) + 2 + 2 * stride) + t.heads * (positions + 1) + block_floats);
  if (memory == nullptr) return false;
  float *out = memory, *joined = out + rows * c, *mapped = joined + rows * (2 * c + 2),
        *attended = mapped + rows * stride;
  float *scores = attended + rows * stride, *block_scratch = scores + t.heads * (positions + 1);

  // 2. The block's layers.
  const float* x = t.x + static_cast<size_t>(first) * c;
  for (int i = 0; i < rows * c; ++i) out[i] = x[i];
  add_layers(out, t.gated, is_key ? t.activated : nullptr, t.layers, t.batch, c, first, rows, t.inplace);

  // 3. The input of key and value [x, out, background], or of the query [out, background].
  const int in = is_key ? 2 * c + 2 : c + 2;
  // If in place, the first layer's ELU overwrites the block's input before the key reads it.
  const float* key_x = t.inplace ? t.activated + static_cast<size_t>(first) * c : x;
  for (int r = 0; r < rows; ++r) {
    float* to = joined + static_cast<size_t>(r) * in;
    if (is_key)
      for (int i = 0; i < c; ++i) *to++ = key_x[r * c + i];
    for (int i = 0; i < c; ++i) *to++ = out[r * c + i];
    for (int i = 0; i < 2; ++i) *to++ = t.background[(first + r) * 2 + i];
  }

  // 4. Even items: key and value.
  const auto copy = [&](const float* from, float* to) {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < width; ++i) to[static_cast<size_t>(first + r) * width + i] = from[r * stride + i];
  };
  if (is_key) {
    gated_block(t.key, joined, nullptr, rows, first, block_scratch);
    dense(t.key_map, joined, in, rows, mapped, stride);
    copy(mapped, t.key_out);
    dense(t.value_map, joined, in, rows, mapped, stride);
    copy(mapped, t.value_out);
    return true;
  }

  // 5. Odd items: query, attention and output.
  gated_block(t.query, joined, nullptr, rows, first, block_scratch);
  dense(t.query_map, joined, in, rows, mapped, stride);
  for (int r = 0; r < rows; ++r) attend(t, mapped + r * stride, first + r, scores, attended + r * width);
  gated_block(t.result, out, attended, rows, first, block_scratch);
  for (int i = 0; i < rows * c; ++i) t.out[static_cast<size_t>(first) * c + i] = out[i];
  return true;
}

}  // namespace
