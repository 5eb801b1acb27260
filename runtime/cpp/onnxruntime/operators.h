// The library of native operators, liblatentloop_operators.so.
#pragma once

#include "../../../kernels/operators/onnxruntime/api.h"

namespace latentloop {

// Adds the native operators to session options. Without their library, which is looked for beside this one, the graphs
// run the functions that define the operators, more slowly; the log says so once.
void register_native_operators(const Api& api, const OrtApiBase* base, OrtSessionOptions* options);

}  // namespace latentloop
