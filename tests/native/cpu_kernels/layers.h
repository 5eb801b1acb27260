// Reference layers in float64 with error bounds, for the tests of whole blocks.
#pragma once

#include "causal_conv/packing.h"
#include "error_bounds.h"
#include "problem.h"

// A dense layer [I, O] with random weights of `bytes` bytes, and with or without a bias; gated: O are two halves. Its
// panels are of one, two or four SIMD vectors, unless `width` is their width.
struct DenseLayer {
  int inputs, outputs, bytes, panel;
  Floats weight, bias;
  StoredWeights stored;

  DenseLayer(Random& random, int inputs, int outputs, int bytes, bool has_bias = true, bool gated = false,
             int width = 0)
      : inputs(inputs),
        outputs(outputs),
        bytes(bytes),
        panel(width > 0 ? width : kernels().panel >> random.below(3)),
        weight(random_weights(random, 1, 1, inputs, outputs, bytes, 2 / std::sqrt(static_cast<float>(inputs)))),
        bias(has_bias ? random.floats(product({outputs})) : Floats{}),
        stored(pack_left(weight.data(), 1, 1, inputs, outputs, gated, product({panel}), bytes),
               gated ? 2 * panel_count(product({outputs / 2}), product({panel}))
                     : panel_count(product({outputs}), product({panel})),
               product({inputs}), product({panel})) {}

  Dense view() const { return {stored.view(), bias.empty() ? nullptr : bias.data(), inputs, outputs, panel}; }

  // x [inputs] -> [outputs].
  BoundedValues operator()(const BoundedValues& x) const {
    BoundedValues out;
    for (int o = 0; o < outputs; ++o) {
      double largest = 0;
      for (int i = 0; i < inputs; ++i)
        largest = std::fmax(largest, std::fabs(weight[product({i, outputs}) + product({o})]));
      Sum sum;
      for (int i = 0; i < inputs; ++i)
        sum.add(x[i], {weight[product({i, outputs}) + product({o})], stored_error(bytes, largest)});
      out.push_back(bias.empty() ? sum.total() : sum.total() + Bounded{bias[o]});
    }
    return out;
  }
};

inline BoundedValues elu(BoundedValues x) {
  for (Bounded& value : x) value = elu(value);
  return x;
}

inline void add(BoundedValues& x, const BoundedValues& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + y[i];
}

// Returns `count` values that begin at `at`, without error.
inline BoundedValues exact(const Floats& values, size_t at, int count) {
  BoundedValues out;
  for (size_t i = at; i < at + product({count}); ++i) out.push_back({values[i]});
  return out;
}

inline void append(BoundedValues& x, const BoundedValues& y) { x.insert(x.end(), y.begin(), y.end()); }

// For each layer: appends ELU(x) to `activated`, then adds the layer's part of gated [L, B, C] to x, or if `inplace`,
// to ELU(x). x [C] is sample b.
inline void add_layers(BoundedValues& x, const Floats& gated, int first, int layers, int batch, int channels, int b,
                       BoundedValues& activated, bool inplace) {
  for (int layer = first; layer < first + layers; ++layer) {
    append(activated, elu(x));
    if (inplace) x = elu(x);
    add(x, exact(gated, product({layer * batch + b, channels}), channels));
  }
}

// Joins samples [..., C] to [..., batch, C].
inline BoundedValues joined(const std::vector<BoundedValues>& samples, int inner) {
  BoundedValues out;
  for (size_t at = 0; at < samples[0].size(); at += product({inner}))
    for (const BoundedValues& sample : samples)
      for (size_t i = at; i < at + product({inner}); ++i) out.push_back(sample[i]);
  return out;
}

// A gated residual block of 1 x 1 convolutions: `width` channels outside, `inner` channels inside, and `other`
// auxiliary inputs (0: none).
struct GatedLayer {
  DenseLayer conv1, conv2;
  std::vector<DenseLayer> auxiliary;  // at most one
  Floats label;                       // [B, 2 width], or empty
  bool inplace;

  GatedLayer(Random& random, int width, int inner, int other, int batch, int bytes, bool has_labels, bool inplace)
      : conv1(random, width, inner, bytes),
        conv2(random, inner, 2 * width, bytes, true, true),
        label(has_labels ? random.floats(product({batch, 2, width})) : Floats{}),
        inplace(inplace) {
    if (other > 0) auxiliary.emplace_back(random, other, inner, bytes, false, false, conv1.panel);
  }

  GatedBlock view() const {
    return {conv1.view(),
            conv2.view(),
            auxiliary.empty() ? Dense{} : auxiliary[0].view(),
            label.empty() ? nullptr : label.data(),
            conv2.outputs,
            inplace};
  }

  BoundedValues operator()(BoundedValues x, const BoundedValues& y, int b) const {
    BoundedValues hidden = conv1(elu(x));
    if (!auxiliary.empty()) add(hidden, auxiliary[0](elu(y)));
    BoundedValues halves = conv2(elu(hidden));
    if (!label.empty()) add(halves, exact(label, product({b}) * halves.size(), conv2.outputs));
    if (inplace) x = elu(x);
    for (size_t i = 0; i < x.size(); ++i) x[i] = x[i] + halves[i] * sigmoid(halves[x.size() + i]);
    return x;
  }
};
