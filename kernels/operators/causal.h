// The causal convolutions of all layers as operators, over the kernels of causal_conv/.
//
// CausalLeftElu, CausalLeftGated
//   x [p + n - 1, L, B, I], above [n, L, B, O], weight [p, L, I, O] -> [n, L, B, O or O / 2]
//
// CausalAbove, attribute kernel
//   k - 1 rows [W + 2p, L, B, I], bias [L, O], L weights [k (k - 1) I, O] -> [W, L, B, O]
//
// CausalAbovePairs, attribute kernel: an even row leaves in partial what an odd row starts from; both may be one memory
//   rows, bias, partial [W, L, B, O], row [1] as float, weights -> [W, L, B, O], partial
//
// All have the attribute bits: see weight_bits.
#pragma once

#include <array>

#include "../causal_conv/packing.h"
#include "../dispatch.h"
#include "../gemm/mapped.h"
#include "../gemm/parallel.h"
#include "../kernels.h"
#include "description.h"
#include "runtime.h"
#include "shared.h"

namespace latentloop {

// A step streams its weights for two columns at a time: three bytes take three quarters of the time of float32, and are
// as good. With 8 bits one byte holds them exactly.
inline int step_bytes(int64_t bits) { return bits == 8 ? 1 : 3; }

// A row reads them for many columns. Transformed weights that had 8 bits need more: two bytes' rounding is far below
// that to 8 bits.
inline int row_bytes(int64_t bits) { return bits == 8 ? 2 : 4; }

// The attribute `bits`: 32, or 8 for weights rounded to 8 bits per output.
inline int64_t weight_bits(const Runtime& runtime, const OrtKernelInfo* info) {
  const int64_t bits = runtime.attribute(info, "bits");
  if (bits != 8 && bits != 32) throw std::invalid_argument("bits must be 8 or 32");
  return bits;
}

// A step's weights [taps, L, I, O] packed, and shared with every operator that is made from the same ones.
inline std::shared_ptr<const Panels> packed_left(const float* values, const Shape& shape, bool gated, int64_t bits,
                                                 int panel) {
  Fingerprint fingerprint;
  fingerprint.add(gated ? 1 : 0);
  fingerprint.add(static_cast<uint64_t>(bits));
  fingerprint.add(shape, values);
  return shared_weights<Panels>(fingerprint, [&] {
    return pack_left(values, shape[0], shape[1], shape[2], shape[3], gated, panel, step_bytes(bits));
  });
}

template <bool Gated>
class CausalLeft {
 public:
  static constexpr const char* kName{Gated ? "CausalLeftGated" : "CausalLeftElu"};
  static constexpr bool kVariadic{false};
  static constexpr std::array kInputs{ort::kFloat, ort::kFloat, ort::kFloat};
  static constexpr std::array kOutputs{ort::kFloat};

  CausalLeft(Runtime runtime, const OrtKernelInfo* info) : runtime_(runtime), kernels_(best_kernels()) {
    const OrtValue* weight = runtime.constant(info, 2);
    shape_ = runtime.shape(weight);
    check(shape_.size() == 4 && (!Gated || shape_[3] % 2 == 0), "weight", shape_);
    packed_ = packed_left(runtime.data(weight), shape_, Gated, weight_bits(runtime, info), kernels_.panel);
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue *x = runtime_.input(context, 0), *above = runtime_.input(context, 1);
    const Shape xs = runtime_.shape(x), as = runtime_.shape(above);
    const int64_t taps = shape_[0], layers = shape_[1], inputs = shape_[2], outputs = shape_[3];
    check(as.size() == 4 && as[0] > 0 && as[1] == layers && as[3] == outputs, "above", as);
    check(xs.size() == 4 && xs[0] == taps + as[0] - 1 && xs[1] == layers && xs[2] == as[2] && xs[3] == inputs, "x", xs);
    LeftTask task{};
    task.x = runtime_.data(x);
    task.above = runtime_.data(above);
    task.weights = packed_->view();
    task.out = runtime_.output(context, 0, {as[0], layers, as[2], Gated ? outputs / 2 : outputs});
    task.taps = static_cast<int>(taps);
    task.columns = static_cast<int>(as[0]);
    task.layers = static_cast<int>(layers);
    task.batch = static_cast<int>(as[2]);
    task.inputs = static_cast<int>(inputs);
    task.outputs = static_cast<int>(outputs);
    task.gated = Gated;
    runtime_.run(context, kernels_.left, task);
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  Shape shape_;  // [p, L, I, O]
  std::shared_ptr<const Panels> packed_;
};

template <bool Pairs>
class CausalAbove {
 public:
  static constexpr const char* kName{Pairs ? "CausalAbovePairs" : "CausalAbove"};
  static constexpr bool kVariadic{true};
  static constexpr std::array kInputs{ort::kFloat};
  static constexpr auto kOutputs = [] {
    if constexpr (Pairs) {
      return std::array{ort::kFloat, ort::kFloat};
    } else {
      return std::array{ort::kFloat};
    }
  }();

  CausalAbove(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        form_(kernel_size(runtime, info)),
        rows_(Pairs ? RowForm::pairs() : RowForm::single(form_.kernel)) {
    const size_t count = runtime.input_count(info), above = form_.kernel - 1, first = above + (Pairs ? 3 : 1);
    const int64_t bits = weight_bits(runtime, info);
    if (count <= first) throw std::invalid_argument("expected a weight per layer");
    layers_ = count - first;
    const Shape bias = runtime.shape(runtime.constant(info, above));
    check(bias.size() == 2 && bias[0] == static_cast<int64_t>(layers_), "bias", bias);
    outputs_ = static_cast<size_t>(bias[1]);
    std::vector<const float*> weights;
    for (size_t layer = 0; layer < layers_; ++layer) {
      const OrtValue* weight = runtime.constant(info, first + layer);
      const Shape shape = runtime.shape(weight);
      const auto per_channel = static_cast<int64_t>(form_.kernel * above);
      check(shape.size() == 2 && shape[0] % per_channel == 0 && shape[1] == bias[1], "weight", shape);
      if (layer == 0) inputs_ = static_cast<size_t>(shape[0] / per_channel);
      check(shape[0] == static_cast<int64_t>(inputs_) * per_channel, "weight", shape);
      weights.push_back(runtime.data(weight));
    }
    const size_t panels = panel_count(outputs_, kernels_.panel) * form_.points;
    packed_ = Panels(layers_ * panels, rows_.taps.size() * inputs_, kernels_.panel, row_bytes(bits));
    for_each_in_parallel(layers_, [&](size_t layer) {
      const size_t rows = form_.kernel * above * inputs_;
      std::vector<float> kept;
      if (bits != 32) kept = rounded(weights[layer], rows, outputs_, bits);
      const float* source = bits == 32 ? weights[layer] : kept.data();
      pack_above(source, form_, rows_, inputs_, outputs_, kernels_.panel, layer * panels, packed_);
      release_pages(weights[layer], rows * outputs_ * sizeof(float));
    });
  }

  void compute(OrtKernelContext* context) const {
    const size_t above = form_.kernel - 1;
    std::vector<const float*> rows(above);
    Shape shape;
    for (size_t a = 0; a < above; ++a) {
      const OrtValue* row = runtime_.input(context, a);
      const Shape found = runtime_.shape(row);
      if (a == 0) shape = found;
      check(found == shape && found.size() == 4 && found[0] > static_cast<int64_t>(above) &&
                found[1] == static_cast<int64_t>(layers_) && found[3] == static_cast<int64_t>(inputs_),
            "a row", found);
      rows[a] = runtime_.data(row);
    }
    const Shape outputs{shape[0] - static_cast<int64_t>(above), shape[1], shape[2], static_cast<int64_t>(outputs_)};
    AboveTask task{};
    task.rows = rows.data();
    task.weights = packed_.view();
    task.bias = runtime_.data(runtime_.input(context, above));
    task.out = runtime_.output(context, 0, outputs);
    task.groups = rows_.groups.data();
    task.group_count = task.packed_groups = static_cast<int>(rows_.groups.size());
    if constexpr (Pairs) {
      const OrtValue *partial = runtime_.input(context, above + 1), *index = runtime_.input(context, above + 2);
      check(runtime_.shape(partial) == outputs, "partial", runtime_.shape(partial));
      check(runtime_.shape(index) == Shape{1}, "row", runtime_.shape(index));
      float* below = runtime_.output(context, 1, outputs);
      if (static_cast<int64_t>(*runtime_.data(index)) % 2 == 0) {
        task.below = below;
      } else {
        task.partial = runtime_.data(partial);
        task.groups += RowForm::kLast;
        task.group_count = 1;
      }
    }
    task.kernel = static_cast<int>(form_.kernel);
    task.tile = static_cast<int>(form_.tile);
    task.width = static_cast<int>(outputs[0]);
    task.layers = static_cast<int>(layers_);
    task.batch = static_cast<int>(shape[2]);
    task.inputs = static_cast<int>(inputs_);
    task.outputs = static_cast<int>(outputs_);
    task.inputs_transform = form_.inputs.data();
    task.outputs_transform = form_.outputs.data();
    runtime_.run(context, kernels_.above, task);
  }

 private:
  static size_t kernel_size(Runtime runtime, const OrtKernelInfo* info) {
    const int64_t kernel = runtime.attribute(info, "kernel");
    if (kernel < 3 || kernel % 2 == 0 || kernel > 31) throw std::invalid_argument("kernel must be odd, 3 to 31");
    if (Pairs && kernel != 5) throw std::invalid_argument("pairs of rows need a kernel of 5");
    return static_cast<size_t>(kernel);
  }

  Runtime runtime_;
  const Kernels& kernels_;
  CookToom form_;
  RowForm rows_;
  size_t layers_{}, inputs_{}, outputs_{};
  Panels packed_;
};

}  // namespace latentloop
