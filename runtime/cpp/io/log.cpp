#include "log.h"

#include <mutex>

namespace latentloop {

namespace {

struct Destination {
  std::mutex mutex;
  Log function{};
  void* user{};
};

Destination& destination() {
  static auto* instance = new Destination;  // never destroyed: other threads may log at the end of the process
  return *instance;
}

}  // namespace

void set_log(Log function, void* user) {
  const std::lock_guard lock{destination().mutex};
  destination().function = function;
  destination().user = user;
}

void log(int level, const std::string& text) {
  Log function = nullptr;
  void* user = nullptr;
  {
    const std::lock_guard lock{destination().mutex};
    function = destination().function;
    user = destination().user;
  }
  if (function != nullptr) function(level, text.c_str(), user);
}

}  // namespace latentloop
