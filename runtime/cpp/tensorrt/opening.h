// Opening a backend that runs a bundle's engines.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "../bundles/bundle.h"
#include "../cuda/context.h"
#include "../gpu/backend.h"
#include "engines.h"

namespace latentloop {

// The engines of one bundle. They live as long as a sampler uses them. Threads may share them.
class LoadedEngines {
 public:
  std::shared_ptr<TensorRtEngines> get(EngineSet set, const std::shared_ptr<const cuda::GpuContext>& context);

 private:
  using Key = std::pair<std::string, cuda::Context>;  // the set's folder, and where they are loaded

  std::mutex mutex_;
  std::map<Key, std::weak_ptr<TensorRtEngines>> engines_;
};

// Returns a backend for GPU `number`. Throws Error: LL_MISSING if the driver, the GPU, TensorRT or engines for both are
// missing, LL_INVALID_ARGUMENT for a precision that engines cannot have, LL_DEVICE if the GPU fails.
std::unique_ptr<Backend> open_engines(std::shared_ptr<const Bundle> bundle, LoadedEngines& loaded, int number,
                                      const std::string& precision, GpuBackend::MakeClassifier make_classifier);

}  // namespace latentloop
