// Sessions of a bundle's graphs, shared by the samplers that are made from the bundle.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../bundles/bundle.h"
#include "library.h"

namespace latentloop {

// An input or output of a graph. Dynamic sizes are -1.
struct Tensor {
  std::string name;
  int type;  // ONNX Runtime's number of the element type
  Shape shape;
};

class Session {
 public:
  // Throws Error if the graph cannot be loaded, or if its file or the weights have changed since they were verified.
  Session(const Bundle& bundle, const std::string& file, int threads);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  OrtSession* get() const { return session_; }
  const std::string& path() const { return path_; }
  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  void load(const Bundle& bundle, int threads);
  void describe();

  std::string path_;
  OrtSession* session_{};
  std::vector<Tensor> inputs_, outputs_;
};

// The sessions of one bundle. A session lives as long as a sampler uses it. Threads may share them.
class Sessions {
 public:
  explicit Sessions(std::shared_ptr<const Bundle> bundle) : bundle_(std::move(bundle)) {}

  const Bundle& bundle() const { return *bundle_; }

  // Returns the session of a graph's file, a new one if none is in use.
  std::shared_ptr<const Session> get(const std::string& file, int threads);

 private:
  std::shared_ptr<const Bundle> bundle_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::weak_ptr<const Session>> sessions_;
};

}  // namespace latentloop
