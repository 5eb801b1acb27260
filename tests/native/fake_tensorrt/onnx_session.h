// Execution of ONNX graphs on the CPU, over tensors at addresses of the simulated GPU's memory.
#ifndef LATENTLOOP_TESTS_TENSORRT_ONNX_SESSION_H_
#define LATENTLOOP_TESTS_TENSORRT_ONNX_SESSION_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "operators/onnxruntime/api.h"
#include "plan.h"

namespace fake_tensorrt {

enum OnnxType { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kBool = 9, kFloat16 = 10, kBfloat16 = 16 };

// An input or output of a graph. Sizes that are not known have a name, possibly empty, and are -1.
struct Tensor {
  std::string name;
  int type;
  Shape shape;
  std::vector<std::string> size_names;
};

// A contiguous tensor at an address, bound to an input or output.
struct BoundTensor {
  std::string name;
  void* memory;
  size_t bytes;
  int type;
  Shape shape;
  bool is_output;
};

class OnnxSession {
 public:
  // Returns the session of a plan's model, shared by all plans with this model. Throws std::runtime_error.
  static std::shared_ptr<const OnnxSession> of(const Plan& plan);

  explicit OnnxSession(const std::string& model);

  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

  OrtSession* get() const { return session_; }

 private:
  OrtSession* session_{};
  std::vector<Tensor> inputs_, outputs_;
};

// Returns a function that runs a session over the tensors. It can be called several times, and returns a status of
// CUDA; the text of an error becomes a violation.
std::function<int()> bound_run(const std::string& text, std::shared_ptr<const OnnxSession> session,
                               std::vector<BoundTensor> tensors);

}  // namespace fake_tensorrt

#endif  // LATENTLOOP_TESTS_TENSORRT_ONNX_SESSION_H_
