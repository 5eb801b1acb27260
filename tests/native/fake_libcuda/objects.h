// Contexts, streams, events and graphs of the simulated device, by handle.
#ifndef LATENTLOOP_TESTS_CUDA_OBJECTS_H_
#define LATENTLOOP_TESTS_CUDA_OBJECTS_H_

#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "accesses.h"

namespace fake_cuda {

enum Mode : int { kGlobal = 0, kThreadLocal = 1, kRelaxed = 2 };

struct Node {
  std::vector<Access> accesses;
  Run run;
};

using Graph = std::vector<Node>;

struct Stream;

struct Context {
  int device{0};
  bool destroyed{false};
  int retained{0};  // of a primary context
  std::shared_ptr<Stream> legacy;
  std::map<std::thread::id, std::shared_ptr<Stream>> per_thread;
};

// What belongs to the context that was current when it was made.
struct Object {
  std::shared_ptr<Context> context;
  bool destroyed{false};
};

struct Capture {
  Graph graph;
  Mode mode;
  std::thread::id thread;
  bool valid{true};
};

struct Stream : Object {
  int number{0};
  bool blocking{true};  // ordered with the legacy default stream
  std::shared_ptr<Capture> capture;
};

struct Event : Object {
  Clock clock;
  bool captured{false};
  std::weak_ptr<Capture> capture;  // in which it was recorded
};

struct GraphObject : Object {
  std::shared_ptr<const Graph> graph;  // null when it is destroyed; pending launches keep the graph
};

// Objects that calls create and destroy by handle. A handle is never used again.
template <typename T>
class Handles {
 public:
  std::shared_ptr<T> create(void** out, T value) {
    auto object = std::make_shared<T>(std::move(value));
    *out = object.get();
    all_[object.get()] = object;
    return object;
  }

  // Returns the object, destroyed or not; null if the handle is unknown.
  std::shared_ptr<T> find(const void* handle) const {
    const auto entry = all_.find(handle);
    return entry == all_.end() ? nullptr : entry->second;
  }

  const std::map<const void*, std::shared_ptr<T>>& all() const { return all_; }

 private:
  std::map<const void*, std::shared_ptr<T>> all_;
};

}  // namespace fake_cuda

#endif  // LATENTLOOP_TESTS_CUDA_OBJECTS_H_
