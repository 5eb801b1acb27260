// The kernel of AttendTask: the attention of one column to all earlier positions.
//
// One work item is one head of a group of samples: its part of the query's product, the scores, their softmax, and the
// weighted sum of the values.
#pragma once

#include "../gemm/thread_scratch.h"
#include "product.h"

namespace {

using latentloop::AttendTask;

constexpr int kMostSamples{8};  // samples of one group, for which the query's weights are read once

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

// out [rows, count] = outputs first .. first + count of a layer with panels of one vector, for `rows` samples.
inline void some_outputs(const Dense& d, int first, int count, const float* const* x, int rows, float* out) {
  float sums[kMostSamples * kLanes];
  for (int begin = first / kLanes * kLanes; begin < first + count; begin += kLanes) {
    panel_sums<1>(d, begin / kLanes, x, rows, sums);
    const int from = begin < first ? first : begin;
    const int end = begin + kLanes < first + count ? begin + kLanes : first + count;
    for (int r = 0; r < rows; ++r)
      for (int o = from; o < end; ++o) {
        const float sum = sums[r * kLanes + o - begin];
        out[r * count + o - first] = d.bias ? sum + d.bias[o] : sum;
      }
  }
}

// Attention of one head of a sample: query [d] over all earlier positions -> attended [d]; zeros if there are none.
// `scores` is scratch memory for as many scores as there are positions.
void attend_head(const AttendTask& t, const float* query, int sample, int head, float* scores, float* attended) {
  const int d = t.head_width, query_size = t.heads * d;
  const auto is_seen = [&](int entry) { return t.mask[entry] >= 0; };
  for (int e = 0; e < d; ++e) attended[e] = 0;
  const size_t head_size = static_cast<size_t>(d) * t.width, entry_size = t.batch * t.heads * head_size;
  const size_t history_offset = (static_cast<size_t>(sample) * t.heads + head) * head_size;
  const size_t row_offset = static_cast<size_t>(sample) * query_size + static_cast<size_t>(head) * d;
  const size_t column_stride = static_cast<size_t>(t.batch) * query_size;

  // 1. Scores of the finished rows, and of this row's earlier columns.
  float* to = scores;
  for (int entry = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    for (int j = 0; j < t.width; ++j) to[j] = 0;
    add_weighted(to, query, t.keys + entry * entry_size + history_offset, static_cast<size_t>(t.width), d, t.width);
    to += t.width;
  }
  float* own = to;
  for (int j = 0; j < t.column; ++j) *to++ = dot(query, t.row_keys + j * column_stride + row_offset, d);
  for (int j = 0; j < t.own_columns; ++j) *to++ = dot(query, t.own_keys + j * column_stride + row_offset, d);
  if (to == scores) return;

  // 2. Weighted sums of the values, with the exponentials as weights; normalisation.
  const float total = exponentials(scores, static_cast<int>(to - scores));
  const float* weights = scores;
  for (int entry = 0; entry < t.entries; ++entry) {
    if (!is_seen(entry)) continue;
    add_weighted(attended, weights, t.values + entry * entry_size + history_offset, static_cast<size_t>(d), t.width, d);
    weights += t.width;
  }
  add_weighted(attended, own, t.row_values + row_offset, column_stride, t.column, d);
  if (t.own_columns) add_weighted(attended, own + t.column, t.own_values + row_offset, column_stride, t.own_columns, d);
  for (int e = 0; e < d; ++e) attended[e] /= total;
}

inline size_t sample_groups(int batch) { return (batch + kMostSamples - 1) / kMostSamples; }

size_t attend_items(const AttendTask& t) { return t.heads * sample_groups(t.batch); }

bool attend(const AttendTask& t, size_t item) {
  static thread_local ThreadScratch scratch;
  const int head = static_cast<int>(item) % t.heads, first = static_cast<int>(item) / t.heads * kMostSamples;
  const int rows = t.batch - first < kMostSamples ? t.batch - first : kMostSamples, d = t.head_width;
  const size_t positions = static_cast<size_t>(t.entries + 1) * t.width + t.own_columns;
  float* queries = scratch.at_least(positions + (kMostSamples + 1) * static_cast<size_t>(d));
  if (queries == nullptr) return false;
  float *attended = queries + kMostSamples * d, *scores = attended + d;
  const float* x[kMostSamples];
  for (int r = 0; r < rows; ++r) x[r] = t.query + static_cast<size_t>(first + r) * t.query_stride;
  some_outputs(t.query_map, head * d, d, x, rows, queries);
  for (int r = 0; r < rows; ++r) {
    attend_head(t, queries + r * d, first + r, head, scores, attended);
    float* to = t.attended_elu + (static_cast<size_t>(first + r) * t.heads + head) * d;
    for (int e = 0; e < d; e += kLanes)
      store_part(to + e, elu(load_part(attended + e, part_of(d - e))), part_of(d - e));
  }
  return true;
}

}  // namespace
