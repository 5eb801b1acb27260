// What every function of the C interface does: exceptions become statuses, and null arguments are refused.
#pragma once

#include <memory>
#include <new>
#include <string>

#include "../errors.h"
#include "../onnxruntime/session.h"
#include "../sampling/sampler.h"

namespace latentloop {
class LoadedEngines;  // with TensorRT only
}

struct ll_bundle {
  std::shared_ptr<const latentloop::Bundle> bundle;
  std::shared_ptr<latentloop::Sessions> sessions;      // shared by the samplers on the CPU
  std::shared_ptr<latentloop::LoadedEngines> engines;  // shared by those on GPUs; null in a build without TensorRT
};

// A run has a reference of its own, so that the handle can be destroyed meanwhile.
struct ll_sampler {
  std::shared_ptr<latentloop::Sampler> sampler;
};

namespace latentloop {

// Records this thread's last failure.
void set_last_error(const char* text) noexcept;

// Returns the status of a function that throws Error if it fails.
template <typename Function>
ll_status guarded(Function function) noexcept {
  try {
    function();
    return LL_OK;
  } catch (const Error& error) {
    set_last_error(error.what());
    return error.status();
  } catch (const std::bad_alloc&) {
    set_last_error("out of memory");
    return LL_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    set_last_error(error.what());
  } catch (...) {
    set_last_error("an unknown exception");
  }
  return LL_INTERNAL;
}

inline void require(const void* argument, const char* name) {
  if (argument == nullptr) throw Error(LL_INVALID_ARGUMENT, text(name, " is null"));
}

// Returns the status of `function(sampler)` while no other call uses the sampler. A failure of a cancelled run is
// LL_CANCELLED.
template <typename Function>
ll_status run(ll_sampler* handle, Function function) noexcept {
  return guarded([&] {
    require(handle, "sampler");
    const std::shared_ptr<Sampler> sampler = handle->sampler;
    const RunState::Running running{sampler->state};
    try {
      function(*sampler);
    } catch (...) {
      check_cancelled(*sampler);
      throw;
    }
  });
}

}  // namespace latentloop
