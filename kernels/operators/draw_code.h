// The operator DrawCode: the logits of one column of a step, and the draw of its codes.
//
//   x [B, C], weight [C, K], bias [K], uniform [n, B], temperature [B], forced [n, B] int64 -> code [B] int64,
//   logits [B, K]
//
// Attributes: column, of the step's n columns; bits (see weight_bits).
#pragma once

#include <array>

#include "../dispatch.h"
#include "../kernels.h"
#include "../steps/builder.h"
#include "onnxruntime/runtime.h"
#include "phases.h"
#include "weights/packed_matrices.h"

namespace latentloop {

class DrawCode {
 public:
  static constexpr const char* kName{"DrawCode"};
  static constexpr bool kVariadic{false};
  static constexpr std::array kInputs{ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat, ort::kFloat, ort::kInt64};
  static constexpr std::array kOutputs{ort::kInt64, ort::kFloat};

  DrawCode(Runtime runtime, const OrtKernelInfo* info)
      : runtime_(runtime),
        kernels_(best_kernels()),
        column_(runtime.attribute(info, "column")),
        matrices_(runtime, info, {{1, 2, false, false}}, kernels_.panel) {}

  void compute(OrtKernelContext* context) const {
    const OrtValue *x = runtime_.input(context, 0), *uniform = runtime_.input(context, 3);
    const OrtValue *temperature = runtime_.input(context, 4), *forced = runtime_.input(context, 5);
    const Shape xs = runtime_.shape(x);
    const Dense logits = matrices_[0];
    check(xs.size() == 2 && xs[1] == logits.inputs, "x", xs);
    for (const OrtValue* value : {uniform, forced}) {
      const Shape shape = runtime_.shape(value);
      check(shape.size() == 2 && shape[0] > column_ && shape[1] == xs[0], "uniform or forced", shape);
    }
    check(runtime_.shape(temperature) == Shape{xs[0]}, "temperature", runtime_.shape(temperature));
    DrawTask draw{};
    draw.uniform = runtime_.data(uniform) + column_ * xs[0];
    draw.temperature = runtime_.data(temperature);
    draw.forced = runtime_.data<int64_t>(forced) + column_ * xs[0];
    draw.code = runtime_.output<int64_t>(context, 0, {xs[0]});
    float* out = runtime_.output(context, 1, {xs[0], logits.outputs});
    draw.logits = out;
    draw.batch = static_cast<int>(xs[0]), draw.codes = logits.outputs;
    runner_.run(kernels_, runtime_, context, [&](PhaseList& list, StepMemory& memory) {
      StepBuilder step(list, memory, draw.batch, logits.inputs);
      const BlockStart* start = step.output_start();
      step.phase(step.input(runtime_.data(x), start));
      step.logits(logits, start, out);
      step.phase(draw);
    });
  }

 private:
  Runtime runtime_;
  const Kernels& kernels_;
  int64_t column_;
  PackedMatrices matrices_;
  mutable StepRunner runner_;
};

}  // namespace latentloop
