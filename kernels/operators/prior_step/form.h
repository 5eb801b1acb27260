// The form of a prior's step: the attributes of PriorStep.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "../../steps/tasks.h"
#include "../onnxruntime/runtime.h"

namespace latentloop {

// The attributes.
struct PriorForm {
  int64_t kernel, reach, columns, blocks, block_layers, heads, stages;
  bool has_labels, filtered;

  PriorForm(const Runtime& runtime, const OrtKernelInfo* info)
      : kernel(runtime.attribute(info, "kernel")),
        reach(kernel / 2),
        columns(runtime.attribute(info, "columns")),
        blocks(runtime.attribute(info, "blocks")),
        block_layers(runtime.attribute(info, "layers")),
        heads(runtime.attribute(info, "heads")),
        stages(runtime.attribute(info, "stages")),
        has_labels(runtime.attribute(info, "labels") != 0),
        filtered(runtime.attribute(info, "filtered") != 0) {
    if (kernel < 3 || kernel % 2 == 0 || reach > kMostReach)
      throw std::invalid_argument("kernel must be odd, 3 to " + std::to_string(2 * kMostReach + 1));
    if (columns < 1 || columns > 2) throw std::invalid_argument("columns must be 1 or 2");
    if (blocks < 1 || block_layers < 1) throw std::invalid_argument("blocks and layers must be at least 1");
  }

  int64_t layers() const { return blocks * block_layers; }

  // The number of inputs that are not weights.
  size_t state_inputs() const {
    return static_cast<size_t>(5 + (reach > 1) + (heads > 0 ? 3 + 4 * blocks : 1) + has_labels + 3 +
                               (filtered ? 3 : 0));
  }
};

}  // namespace latentloop
