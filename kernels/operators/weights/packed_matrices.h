// The dense layers of operators that compute one column of a step.
#pragma once

#include <memory>
#include <vector>

#include "../../steps/tasks.h"
#include "../onnxruntime/runtime.h"
#include "formats.h"

namespace latentloop {

// The constant matrices [I, O] and biases [O] of one operator. The packed matrices are shared between operators.
class PackedMatrices {
 public:
  // The indices of a matrix and its bias among the operator's inputs; a bias of -1 means that there is none.
  struct Inputs {
    int weight, bias;
    bool gated;   // the outputs are the halves of gated units
    bool narrow;  // panels of one SIMD vector
  };

  PackedMatrices(const Runtime& runtime, const OrtKernelInfo* info, const std::vector<Inputs>& inputs, int panel) {
    const int64_t bits = weight_bits(runtime, info);
    for (const auto& [weight, bias, gated, narrow] : inputs) {
      const OrtValue* matrix = runtime.constant(info, static_cast<size_t>(weight));
      const Shape shape = runtime.shape(matrix);
      check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0 && (!gated || shape[1] % 2 == 0), "weight", shape);
      panels_.push_back(narrow ? panel / 4 : panel_width(gated ? shape[1] / 2 : shape[1], panel));
      packed_.push_back(packed_left(runtime.data(matrix), {1, 1, shape[0], shape[1]}, gated, bits, panels_.back()));
      shapes_.push_back(shape);
      biases_.emplace_back();
      if (bias < 0) continue;
      const OrtValue* vector = runtime.constant(info, static_cast<size_t>(bias));
      check(runtime.shape(vector) == Shape{shape[1]}, "bias", runtime.shape(vector));
      biases_.back().assign(runtime.data(vector), runtime.data(vector) + shape[1]);
    }
  }

  Dense operator[](size_t m) const {
    return {packed_[m]->view(), biases_[m].empty() ? nullptr : biases_[m].data(), static_cast<int>(shapes_[m][0]),
            static_cast<int>(shapes_[m][1]), panels_[m]};
  }
  size_t size() const { return shapes_.size(); }

 private:
  // The width of the panels: two vectors instead of four for few outputs, so that more threads can share a product.
  // With one vector, a product of many samples would be slower.
  static int panel_width(int64_t outputs, int panel) {
    constexpr int64_t kEnoughPanels{8};
    return (outputs + panel - 1) / panel < kEnoughPanels ? panel / 2 : panel;
  }

  std::vector<Shape> shapes_;  // [I, O]
  std::vector<std::vector<float>> biases_;
  std::vector<int> panels_;
  std::vector<std::shared_ptr<const Panels>> packed_;
};

}  // namespace latentloop
