// One block with attention: see AttentionTask.
#pragma once

#include "../gemm/scratch.h"
#include "dense.h"
#include "mix.h"

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

// Turns `count` scores into weights of which the sum is returned.
inline float exponentials(float* scores, int count) {
  float largest = scores[0];
  int i = 0;
  if (count >= kLanes) {
    Floats most = load(scores);
    for (i = kLanes; i + kLanes <= count; i += kLanes) {
      const Floats next = load(scores + i);
      most = next > most ? next : most;
    }
    for (int lane = 0; lane < kLanes; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  }
  for (; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  Floats sum{};
  for (i = 0; i + kLanes <= count; i += kLanes) {
    const Floats weight = exp(load(scores + i) - largest);
    store(scores + i, weight);
    sum += weight;
  }
  float total = sum_lanes(sum);
  if (i < count) {
    float part[kLanes] = {};
    for (int v = 0; i + v < count; ++v) part[v] = scores[i + v] - largest;
    store(part, exp(load(part)));
    for (int v = 0; i + v < count; ++v) total += scores[i + v] = part[v];
  }
  return total;
}

// y += the sum over `count` rows of weights[j] * x[j * stride], for `width` values. The sums stay in registers.
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

// attended [heads * d] of one sample: query [heads * d] over everything before. `scores` has room for every position of
// every head and for a sum each. Entries come first, then their heads: finished rows are read in the order in which
// they lie.
void attend(const AttentionTask& t, const float* query, int sample, float* scores, float* attended) {
  const int d = t.head_width, row = t.heads * d;
  const auto is_seen = [&](int entry) { return t.mask[entry] >= 0; };
  int finished = 0;
  for (int entry = 0; entry < t.entries; ++entry) finished += is_seen(entry);
  const int count = finished * t.width + t.column + t.own;
  for (int e = 0; e < row; ++e) attended[e] = 0;
  if (count == 0) return;
  const size_t head_size = static_cast<size_t>(d) * t.width, entry_size = t.batch * t.heads * head_size;
  const size_t of_sample = sample * t.heads * head_size, within = static_cast<size_t>(sample) * row;
  const size_t column_stride = static_cast<size_t>(t.batch) * row;
  for (int entry = 0, place = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    for (int h = 0; h < t.heads; ++h) {
      float* to = scores + static_cast<size_t>(h) * count + place * t.width;
      for (int j = 0; j < t.width; ++j) to[j] = 0;
      add_weighted(to, query + h * d, t.keys + entry * entry_size + of_sample + h * head_size,
                   static_cast<size_t>(t.width), d, t.width);
    }
    ++place;
  }
  float* totals = scores + static_cast<size_t>(t.heads) * count;
  for (int h = 0; h < t.heads; ++h) {
    float *of_head = scores + static_cast<size_t>(h) * count, *to = of_head + finished * t.width;
    const size_t at = within + static_cast<size_t>(h) * d;
    for (int j = 0; j < t.column; ++j) *to++ = dot(query + h * d, t.row_keys + j * column_stride + at, d);
    for (int j = 0; j < t.own; ++j) *to++ = dot(query + h * d, t.own_keys + j * column_stride + at, d);
    totals[h] = exponentials(of_head, count);
  }
  for (int entry = 0, place = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    for (int h = 0; h < t.heads; ++h)
      add_weighted(attended + h * d, scores + static_cast<size_t>(h) * count + place * t.width,
                   t.values + entry * entry_size + of_sample + h * head_size, static_cast<size_t>(d), t.width, d);
    ++place;
  }
  for (int h = 0; h < t.heads; ++h) {
    const float* weights = scores + static_cast<size_t>(h) * count + finished * t.width;
    const size_t at = within + static_cast<size_t>(h) * d;
    float* to = attended + h * d;
    add_weighted(to, weights, t.row_values + at, column_stride, t.column, d);
    if (t.own) add_weighted(to, weights + t.column, t.own_values + at, column_stride, t.own, d);
    for (int e = 0; e < d; ++e) to[e] /= totals[h];
  }
}

size_t attention_items(const AttentionTask& t) { return 2 * chain_groups(t.batch); }

// Even items: the column's key and value. Odd items: query, attention, and the block's result.
bool attention(const AttentionTask& t, size_t item) {
  static thread_local Scratch scratch;
  const bool is_key = item % 2 == 0;
  const int first = static_cast<int>(item / 2) * kChainRows, rows = chain_rows(t.batch, item / 2);
  const int c = t.channels, width = t.heads * t.head_width, stride = padded(width);
  const size_t positions = static_cast<size_t>(t.entries + 1) * t.width + t.own;
  const Pointwise& widest = is_key ? t.key : t.result;
  size_t working = pointwise_scratch(widest, rows);
  if (!is_key && pointwise_scratch(t.query, rows) > working) working = pointwise_scratch(t.query, rows);
  float* memory =
      scratch.at_least(rows * (3 * static_cast<size_t>(c) + 2 + 2 * stride) + t.heads * (positions + 1) + working);
  if (memory == nullptr) return false;
  float *out = memory, *joined = out + rows * c, *mapped = joined + rows * (2 * c + 2),
        *attended = mapped + rows * stride;
  float *scores = attended + rows * stride, *work = scores + t.heads * (positions + 1);
  const float* x = t.x + static_cast<size_t>(first) * c;
  for (int i = 0; i < rows * c; ++i) out[i] = x[i];
  add_layers(out, t.gated, is_key ? t.entered : nullptr, t.layers, t.batch, c, first, rows, t.inplace);

  const int in = is_key ? 2 * c + 2 : c + 2;  // [x,] out, background
  // In place, the first layer's ELU overwrites the block's input before the key reads it.
  const float* read = t.inplace ? t.entered + static_cast<size_t>(first) * c : x;
  for (int r = 0; r < rows; ++r) {
    float* to = joined + static_cast<size_t>(r) * in;
    if (is_key)
      for (int i = 0; i < c; ++i) *to++ = read[r * c + i];
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
  for (int r = 0; r < rows; ++r) attend(t, mapped + r * stride, first + r, scores, attended + r * width);
  pointwise(t.result, out, attended, rows, first, work);
  for (int i = 0; i < rows * c; ++i) t.out[static_cast<size_t>(first) * c + i] = out[i];
  return true;
}

}  // namespace
