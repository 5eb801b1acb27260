// The library of native operators, liblatentloop_operators.so.
#pragma once

#include <string>

#include "../../../kernels/operators/onnxruntime/abi.h"

namespace latentloop {

using RegisterOperators = OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*);

// Returns the function that adds the native operators to session options. Without their library, which is looked for
// beside this one, the graphs run the functions that define the operators, more slowly: then it returns null, and sets
// `problem`.
RegisterOperators load_native_operators(std::string& problem);

}  // namespace latentloop
