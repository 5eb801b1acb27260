// The operator NearestCodebook on the CPU; the kernel is in nearest_codebook/cpu/.
//
// NearestCodebook, attribute channels_first (0 or 1)
//   z [..., D], or if channels_first [B, D, ...], codebook [K, D] -> index int64, of z's shape without D
#pragma once

#include <array>
#include <memory>

#include "../dispatch.h"
#include "../kernels.h"
#include "../nearest_codebook/arguments.h"
#include "../nearest_codebook/cpu/codebook.h"
#include "onnxruntime/runtime.h"
#include "weights/shared_weights.h"

namespace latentloop {

class NearestCodebook {
 public:
  static constexpr const char* kName{"NearestCodebook"};
  static constexpr bool kVariadic{false};
  static constexpr std::array kInputs{ort::kFloat, ort::kFloat};
  static constexpr std::array kOutputs{ort::kInt64};

  NearestCodebook(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime), kernels_(best_kernels()), channels_first_(runtime.attribute(info, "channels_first")) {
    if (channels_first_ > 1) throw std::invalid_argument("channels_first must be 0 or 1");
    const OrtValue* codebook = runtime.constant(info, 1);
    const Shape shape = runtime.shape(codebook);
    check(shape.size() == 2 && shape[0] > 0 && shape[0] <= nearest::kMostCodewords && shape[1] > 0 &&
              shape[1] <= nearest::kMostDimensions,
          "codebook", shape);
    const float* values = runtime.data(codebook);
    Fingerprint fingerprint;
    fingerprint.add(shape, values);
    packed_ = shared_weights<PackedCodebook>(fingerprint, [&] {
      return PackedCodebook(values, static_cast<size_t>(shape[0]), static_cast<size_t>(shape[1]),
                            static_cast<size_t>(kernels_.panel));
    });
  }

  void compute(OrtKernelContext* context) const {
    const OrtValue* z = runtime_.input(context, 0);
    Shape shape = runtime_.shape(z);
    NearestTask task = packed_->task();
    const size_t least = channels_first_ ? 2 : 1, axis = channels_first_ ? 1 : shape.size() - 1;
    check(shape.size() >= least && shape[axis] == task.dimensions, "z", shape);
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
    task.z = runtime_.data(z);
    task.index = runtime_.output<int64_t>(context, 0, shape);
    task.vectors = 1;
    for (const int64_t size : shape) task.vectors *= size;
    if (task.vectors == 0) return;
    if (channels_first_) task.positions = task.vectors / shape[0];
    const Kernel<NearestTask>& kernel = kernels_.nearest;
    if (useful_threads(task) > 1) return runtime_.run(context, kernel, task);
    for (size_t item = 0; item < kernel.items(task); ++item)
      if (!kernel.run(task, item)) throw std::bad_alloc();
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  int64_t channels_first_;
  std::shared_ptr<const PackedCodebook> packed_;
};

}  // namespace latentloop
