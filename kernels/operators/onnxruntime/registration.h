// Registration of the operators of a library.
#pragma once

#include <exception>
#include <initializer_list>

#include "abi.h"
#include "runtime.h"

namespace latentloop {

// Adds the operators to the session options, in the domain "latentloop". Returns null, or a status if that fails.
inline OrtStatus* register_operators(OrtSessionOptions* options, const OrtApiBase* base,
                                     std::initializer_list<const OrtCustomOp*> operators) {
  const OrtApi* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) return nullptr;  // ONNX Runtime older than 1.20: graphs run the function bodies
  const Runtime runtime{api};
  try {
    OrtCustomOpDomain* domain = nullptr;  // never freed: no object outlives all sessions that use it
    runtime.call<ort::CreateCustomOpDomain>("latentloop", &domain);
    for (const OrtCustomOp* op : operators) runtime.call<ort::CustomOpDomainAdd>(domain, op);
    runtime.call<ort::AddCustomOpDomain>(options, domain);
  } catch (const std::exception& error) {
    return runtime.status(error.what());
  }
  return nullptr;
}

}  // namespace latentloop
