// NVIDIA's headers of TensorRT, or of TensorRT for RTX. Only this room includes them.
#pragma once

#include <NvInferRuntime.h>

namespace latentloop {

#ifdef TRT_MAJOR_RTX
constexpr bool kIsForRtx{true};
#else
constexpr bool kIsForRtx{false};
#endif

}  // namespace latentloop
