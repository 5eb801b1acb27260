// The state of the simulated driver, behind one mutex, and what a thread has of its own.
#ifndef LATENTLOOP_TESTS_CUDA_SIMULATION_H_
#define LATENTLOOP_TESTS_CUDA_SIMULATION_H_

#include <cstdlib>
#include <mutex>
#include <string>

#include "allocations.h"
#include "fake_cuda.h"
#include "objects.h"

namespace fake_cuda {

enum Status : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidContext = 201,
  kInvalidHandle = 400,
  kNotFound = 500,
  kIllegalAddress = 700,
  kContextIsDestroyed = 709,
  kLaunchFailed = 719,
  kNotSupported = 801,  // CUDA_ERROR_NOT_SUPPORTED
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
  kCaptureIsolation = 905,
  kCapturedEvent = 907,
};

inline int number_of(const char* variable, int otherwise) {
  const char* value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoi(value);
}

class Simulation {
 public:
  // Never destroyed: a program may make calls while its process ends.
  static Simulation& get() {
    static auto* instance = new Simulation;
    return *instance;
  }

  std::recursive_mutex mutex;
  bool initialized{false};
  Scheduler scheduler;
  Allocations allocations;
  std::map<int, std::shared_ptr<Context>> primary;  // by device
  Handles<Context> contexts;                        // also the primary ones
  Handles<Stream> streams;                          // without default streams
  Handles<Event> events;
  Handles<GraphObject> graphs, executables;
  std::string violation;
  int failure{kSuccess};  // of asynchronous work; reported by all later waits

  // Keeps the text of the first violation. Returns the status.
  int violate(const std::string& text, int status) {
    if (violation.empty()) violation = text;
    return status;
  }

  // Like `violate`, for an error that a device reports with every later wait.
  int fail(const std::string& text) {
    failure = kLaunchFailed;
    return violate(text, kLaunchFailed);
  }

 private:
  Simulation()
      : scheduler(static_cast<unsigned>(number_of("LATENTLOOP_TEST_SEED", 0)),
                  number_of("LATENTLOOP_TEST_EAGER", 0) != 0) {}
};

inline Simulation& simulation() { return Simulation::get(); }

struct Thread {
  std::vector<std::shared_ptr<Context>> contexts;  // a stack; the last one is current
  Mode mode{kGlobal};
};

inline Thread& thread() {
  static thread_local Thread own;
  return own;
}

inline std::shared_ptr<Context> current() { return thread().contexts.empty() ? nullptr : thread().contexts.back(); }

// Returns an error if no context is current, or a destroyed one.
int check_context(const std::string& text);

// Sets `found` to the object of a handle; `text` and `what` are of the call and of the object's kind.
template <typename T>
int find_object(const std::string& text, const char* what, const Handles<T>& handles, const void* handle,
                std::shared_ptr<T>& found) {
  const auto object = handles.find(handle);
  if (!object) return simulation().violate(text + ": there is no such " + what, kInvalidHandle);
  if (object->destroyed) return simulation().violate(text + ": the " + what + " was destroyed", kInvalidHandle);
  if (object->context->destroyed)
    return simulation().violate(text + ": the context of the " + what + " was destroyed", kContextIsDestroyed);
  return found = object, kSuccess;
}

// Like `find_object`, and the object must be of the current context.
template <typename T>
int find_own(const std::string& text, const char* what, const Handles<T>& handles, const void* handle,
             std::shared_ptr<T>& found) {
  if (const int status = check_context(text)) return status;
  std::shared_ptr<T> object;
  if (const int status = find_object(text, what, handles, handle, object)) return status;
  if (object->context != current())
    return simulation().violate(text + ": the " + what + " is of another context than the current one",
                                kInvalidContext);
  return found = object, kSuccess;
}

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_SIMULATION_H_
