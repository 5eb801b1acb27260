// The causal convolutions of all layers as operators; the kernels are in causal_conv/.
//
// CausalLeftElu, CausalLeftGated: the taps to the left of n columns
//   x [p + n - 1, L, B, I], above [n, L, B, O], weight [p, L, I, O] -> [n, L, B, O], gated [n, L, B, O / 2]
//
// CausalAbove, attribute kernel: the rows above
//   k - 1 rows [W + 2p, L, B, I], bias [L, O], L weights [k (k - 1) I, O] -> [W, L, B, O]
//
// CausalAbovePairs, attribute kernel (5): two rows of outputs share products. The call for an even row stores its part
// of the next row in the output `partial`; the call for the odd row reads it. Both may be the same memory.
//   k - 1 rows, bias, partial [W, L, B, O], row number [1] as float, L weights -> [W, L, B, O], partial [W, L, B, O]
//
// All have the attribute bits: see weight_bits.
#pragma once

#include <array>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../causal_conv/packing.h"
#include "../dispatch.h"
#include "../kernels.h"
#include "../parallel.h"
#include "../steps/list.h"
#include "onnxruntime/runtime.h"
#include "phases.h"
#include "weights/formats.h"
#include "weights/release_pages.h"

namespace latentloop {

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
    task.split = static_cast<int>(xs[0]);
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory&) {
      list.begin_phase();
      list.add(task);
    });
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  Shape shape_;  // [p, L, I, O]
  std::shared_ptr<const Panels> packed_;
  mutable StepRunner runner_;
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
        rows_(Pairs ? RowGroups::pairs() : RowGroups::single(form_.kernel)) {
    const std::vector<const float*> weights = read_weights(info);
    const int64_t bits = weight_bits(runtime, info);
    const size_t panels = panel_count(outputs_, kernels_.panel) * form_.points;
    packed_ = Panels(layers_ * panels, rows_.taps.size() * inputs_, kernels_.panel, row_bytes(bits));
    for_each_in_parallel(layers_, [&](size_t layer) {
      const size_t rows = form_.kernel * (form_.kernel - 1) * inputs_;
      std::vector<float> rounded_weights;
      if (bits != 32) rounded_weights = rounded(weights[layer], rows, outputs_, bits);
      const float* source = bits == 32 ? weights[layer] : rounded_weights.data();
      pack_above(source, form_, rows_, inputs_, outputs_, kernels_.panel, layer * panels, packed_);
      release_pages(weights[layer], rows * outputs_ * sizeof(float));
    });
  }

  void compute(OrtKernelContext* context) const {
    const size_t above = form_.kernel - 1;
    std::vector<const float*> rows(above);
    Shape shape;  // of every row
    for (size_t a = 0; a < above; ++a) {
      const OrtValue* row = runtime_.input(context, a);
      const Shape row_shape = runtime_.shape(row);
      if (a == 0) shape = row_shape;
      check(row_shape == shape && shape.size() == 4 && shape[0] > static_cast<int64_t>(above) &&
                shape[1] == static_cast<int64_t>(layers_) && shape[3] == static_cast<int64_t>(inputs_),
            "a row", row_shape);
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
    if constexpr (Pairs) set_row_of_pair(context, outputs, task);
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

  // Sets layers_, inputs_ and outputs_, and returns the weights of each layer.
  std::vector<const float*> read_weights(const OrtKernelInfo* info) {
    const size_t count = runtime_.input_count(info), above = form_.kernel - 1, first = above + (Pairs ? 3 : 1);
    if (count <= first) throw std::invalid_argument("expected a weight per layer");
    layers_ = count - first;
    const Shape bias = runtime_.shape(runtime_.constant(info, above));
    check(bias.size() == 2 && bias[0] == static_cast<int64_t>(layers_), "bias", bias);
    outputs_ = static_cast<size_t>(bias[1]);
    std::vector<const float*> weights;
    for (size_t layer = 0; layer < layers_; ++layer) {
      const OrtValue* weight = runtime_.constant(info, first + layer);
      const Shape shape = runtime_.shape(weight);
      const auto per_channel = static_cast<int64_t>(form_.kernel * above);
      check(shape.size() == 2 && shape[0] % per_channel == 0 && shape[1] == bias[1], "weight", shape);
      if (layer == 0) inputs_ = static_cast<size_t>(shape[0] / per_channel);
      check(shape[0] == static_cast<int64_t>(inputs_) * per_channel, "weight", shape);
      weights.push_back(runtime_.data(weight));
    }
    return weights;
  }

  // Even rows compute all groups and the next row's partial sums; odd rows add one group to these.
  void set_row_of_pair(OrtKernelContext* context, const Shape& outputs, AboveTask& task) const {
    const size_t above = form_.kernel - 1;
    const OrtValue *partial = runtime_.input(context, above + 1), *index = runtime_.input(context, above + 2);
    check(runtime_.shape(partial) == outputs, "partial", runtime_.shape(partial));
    check(runtime_.shape(index) == Shape{1}, "row", runtime_.shape(index));
    float* next_partial = runtime_.output(context, 1, outputs);
    if (static_cast<int64_t>(*runtime_.data(index)) % 2 == 0) {
      task.next_partial = next_partial;
    } else {
      task.partial = runtime_.data(partial);
      task.groups += RowGroups::kLast;
      task.group_count = 1;
    }
  }

  Runtime runtime_;
  const Kernels& kernels_;
  CookToom form_;
  RowGroups rows_;
  size_t layers_{}, inputs_{}, outputs_{};
  Panels packed_;
};

}  // namespace latentloop
