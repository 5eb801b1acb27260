// What an operator library's entry point does.
#pragma once

#include <exception>
#include <initializer_list>

#include "../onnxruntime_abi.h"
#include "runtime.h"

namespace latentloop {

// Adds the operators to the session's options, as the domain "latentloop".
inline OrtStatus* register_operators(OrtSessionOptions* options, const OrtApiBase* base,
                                     std::initializer_list<const OrtCustomOp*> operators) {
  const OrtApi* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) return nullptr;  // older than 1.20: its graphs keep their function bodies
  const Runtime runtime{api};
  try {
    OrtCustomOpDomain* domain = nullptr;  // lives as long as the process: sessions may outlive any owner we could name
    runtime.call<ort::CreateCustomOpDomain>("latentloop", &domain);
    for (const OrtCustomOp* op : operators) runtime.call<ort::CustomOpDomainAdd>(domain, op);
    runtime.call<ort::AddCustomOpDomain>(options, domain);
  } catch (const std::exception& error) {
    return runtime.status(error.what());
  }
  return nullptr;
}

}  // namespace latentloop
