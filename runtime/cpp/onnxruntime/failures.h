// Failures of ONNX Runtime, as errors of this library.
#pragma once

#include <string>

namespace latentloop {

// Converts the exception that is being handled: Error and std::bad_alloc are thrown again; a text of ONNX Runtime that
// says so becomes LL_OUT_OF_MEMORY, and any other LL_BAD_BUNDLE, because all arguments have been checked before. `what`
// is the beginning of the text.
[[noreturn]] void rethrow_as_bundle_error(const std::string& what);

}  // namespace latentloop
