// The loop over one level's codes on a GPU. Views of state buffers are addresses of its memory.
//
// Rows with the same index modulo the rows of the ring of codes, their phase, run the same step graphs at the same
// addresses. These runs are captured once per phase as a CUDA graph and replayed; the row graph is captured once per
// row. Values that differ between images (random numbers, settings, codes) are copied to and from fixed addresses.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../backend.h"
#include "graphs.h"
#include "state_buffers.h"

namespace latentloop {

// For one level and batch size; work is enqueued on the stream of the staging memory, and nothing waits. The context
// has to be current when functions are called.
class DeviceLoop {
 public:
  DeviceLoop(DeviceGraphs& graphs, const Level& level, int64_t batch, Staging& staging);

  int64_t batch() const { return batch_; }
  const Level& level() const { return level_; }
  const DeviceTensor& codes() const { return codes_; }               // [H, W, B], of finished rows
  const DeviceTensor& logits() const { return buffers_["logits"]; }  // [W, B, K], of the last row

  // Resets the state, and copies the inputs of a batch. `upper` [H', W', B] are the codes of the level above; null:
  // they are those of the inputs.
  void begin(const LevelInputs& inputs, const DeviceTensor* upper, Staging& staging);

  // Enqueues row i, which writes its codes to codes().row(i).
  void enqueue_row(int64_t i);

 private:
  // One run of a graph, with the copies (target, source) before and after it. A substitute takes the place of a view
  // that is not aligned, or of an output that overlaps an input.
  struct Run {
    DeviceGraph* graph;
    std::map<std::string, DeviceTensor> tensors;
    std::vector<std::pair<DeviceTensor, DeviceTensor>> copies_before, copies_after;
  };
  using Key = std::pair<std::string, int64_t>;  // role, and row or phase

  void send_inputs(const LevelInputs& inputs, Staging& staging);
  void send_constants(const LevelInputs& inputs, Staging& staging);
  void send_upper(const LevelInputs& inputs, const DeviceTensor& upper, Staging& staging);
  Run prepare(const std::string& role, int64_t i, int64_t j);
  DeviceTensor substitute(const std::string& role, const std::string& name, const DeviceTensor& view);
  template <typename Add>
  void replay(const std::string& role, int64_t key, Add add);
  void enqueue(const Run& run) const;

  DeviceGraphs& device_graphs_;
  const Level& level_;
  const Prior& prior_;
  const int64_t batch_;
  const cuda::Stream& stream_;
  DeviceStateBuffers buffers_;
  DeviceTensor uniform_, forced_, codes_;                                    // [H, W, B]
  std::string step_;                                                         // the role of the step graph
  std::map<std::pair<std::string, std::string>, DeviceTensor> substitutes_;  // by role and name of the binding
  std::map<std::string, std::unique_ptr<DeviceGraph>> graphs_;               // by role
  std::map<Key, std::unique_ptr<cuda::CapturedGraph>> captured_;
};

}  // namespace latentloop
