// The dense layers of operators that compute one column of a step.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../kernels.h"
#include "onnxruntime/runtime.h"
#include "weights.h"

namespace latentloop {

// The constant matrices [I, O] and biases [O] of one operator. The packed matrices are shared between operators.
class PackedMatrices {
 public:
  // `inputs`: the indices of the (weight, bias) inputs; a bias of -1 means that there is none.
  PackedMatrices(const Runtime& runtime, const OrtKernelInfo* info, const std::vector<std::pair<int, int>>& inputs,
                 int panel) {
    const int64_t bits = weight_bits(runtime, info);
    for (const auto& [weight, bias] : inputs) {
      const OrtValue* matrix = runtime.constant(info, static_cast<size_t>(weight));
      const Shape shape = runtime.shape(matrix);
      check(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, "weight", shape);
      packed_.push_back(packed_left(runtime.data(matrix), {1, 1, shape[0], shape[1]}, false, bits, panel));
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
            static_cast<int>(shapes_[m][1])};
  }
  size_t size() const { return shapes_.size(); }

 private:
  std::vector<Shape> shapes_;  // [I, O]
  std::vector<std::vector<float>> biases_;
  std::vector<std::shared_ptr<const Panels>> packed_;
};

}  // namespace latentloop
