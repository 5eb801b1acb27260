#include "opening.h"

#include "../engines/finding.h"

namespace latentloop {

std::shared_ptr<TensorRtEngines> LoadedEngines::get(EngineSet set,
                                                    const std::shared_ptr<const cuda::GpuContext>& context) {
  const std::lock_guard lock{mutex_};
  std::weak_ptr<TensorRtEngines>& kept = engines_[{set.folder, context->handle()}];
  std::shared_ptr<TensorRtEngines> engines = kept.lock();
  if (!engines) kept = engines = std::make_shared<TensorRtEngines>(std::move(set), context);
  return engines;
}

std::unique_ptr<Backend> open_engines(std::shared_ptr<const Bundle> bundle, LoadedEngines& loaded, int number,
                                      const std::string& precision, GpuBackend::MakeClassifier make_classifier) {
  check_has_engines(*bundle, precision);  // before the libraries and the context take their memory
  const std::string architecture = cuda::architecture_of(number);
  const TensorRt& library = TensorRt::get();
  EngineSet set = find_engines(*bundle, {TensorRt::flavour(), library.version(), architecture, precision});
  const auto context = std::make_shared<const cuda::GpuContext>(number);
  return on_gpu(*context, [&] {
    auto engines = loaded.get(std::move(set), context);
    return std::make_unique<GpuBackend>(std::move(bundle), context, std::move(engines), std::move(make_classifier));
  });
}

}  // namespace latentloop
