// The loop over one level's codes: rows, and columns within a row. It owns the state buffers.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../backend.h"
#include "../onnxruntime/call.h"

namespace latentloop {

// The manifest says which view of which buffer is bound to each input and output of a graph, so the loop needs no other
// knowledge of the model. A loop is for one level, precision and batch size.
class PriorLoop {
 public:
  PriorLoop(Sessions& sessions, const Level& level, const std::string& precision, int threads, int64_t batch);

  int64_t batch() const { return batch_; }

  // Runs the level, and calls `after_row` after every row. After an exception the loop cannot be used again.
  void run(const LevelInputs& inputs, const RunOptions& options, const AfterRow& after_row);

 private:
  struct Memory {
    void operator()(char* memory) const { ::operator delete(memory, std::align_val_t{64}); }
  };
  using Array = std::unique_ptr<char, Memory>;

  // A call, and the row for which its growing inputs are bound.
  struct Bound {
    Call call;
    int64_t row;
  };

  // A graph in its role: its session, and its calls by index, which are bound when they are first run.
  struct Role {
    const Graph* graph{};
    std::shared_ptr<const Session> session;
    std::vector<std::optional<Bound>> calls;
    std::vector<const Binding*> growing;  // inputs with the view `entries`, which depend on the row
  };

  size_t index_of(const char* name) const;  // of a state buffer; the number of buffers if there is none
  template <typename T>
  T* array(const char* name) const;  // null if there is no such buffer
  void fill(size_t index);
  void begin(const LevelInputs& inputs, const RunOptions& options);
  void write_row_inputs(const LevelInputs& inputs, int64_t i);
  Role& role(const std::string& name, int64_t calls);
  void run_call(Role& role, int64_t index, int64_t i, int64_t j, const RunOptions& options);
  const OrtValue* value(const Binding& binding, int64_t i, int64_t j);
  Row finished_row(int64_t i) const;

  Sessions& sessions_;
  const Level& level_;
  const Prior& prior_;
  std::string suffix_;  // of the graphs' names at this precision
  int threads_;
  int64_t batch_;
  std::vector<Array> arrays_;                                   // one per state buffer
  std::map<std::tuple<size_t, int64_t, Shape>, Value> values_;  // by buffer, offset and shape
  std::map<std::string, Role> roles_;
  int64_t code_rows_;  // rows of the ring of codes: all addresses repeat after as many rows
};

}  // namespace latentloop
