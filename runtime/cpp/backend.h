// What runs the graphs of a bundle on one device. A sampler owns a backend, and only one thread at a time uses it,
// except for interrupt().
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "draws/level_settings.h"

namespace latentloop {

// Inputs of one level for a batch of B samples. Arrays belong to the caller.
struct LevelInputs {
  size_t level;                   // its index
  int64_t batch;                  // B
  const uint64_t* seeds;          // [B]; null: all random numbers are 0, for codes that are all forced
  const int64_t* forced;          // [B, H, W], -1: draw the code
  const int64_t* upper;           // [B, H', W'], the codes of the level above; null for the top
  const int64_t* labels;          // [B]; null without classes
  const LevelSettings* settings;  // null: temperature 1, no filters
};

// A finished row i. The next row overwrites the arrays.
struct Row {
  int64_t i;
  const int64_t* codes;  // [W, B]
  const float* logits;   // [W, B, K]
};

using AfterRow = std::function<void(const Row&)>;  // may throw, which ends the run

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  virtual const std::string& device() const = 0;

  // Runs the loop of one level. Throws Error, also LL_BAD_BUNDLE for logits that are not finite.
  virtual void rows(const LevelInputs& inputs, const AfterRow& after_row) = 0;

  // Encodes images [n, H, W, C] to codes by level [n, h, w], all of them.
  virtual void encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) = 0;

  // Decodes codes by level [n, h, w] to images [n, H, W, C].
  virtual void decode(int64_t n, const std::vector<const int64_t*>& codes, uint8_t* images) = 0;

  // Computes the classifier's probabilities [n, classes] of images [n, H, W, C].
  virtual void classify(int64_t n, const uint8_t* images, float* probabilities) = 0;

  // Makes the run of a graph end soon with an exception, and every later one, until resume() is called. Any thread may
  // call it, also a signal handler.
  virtual void interrupt() noexcept = 0;
  virtual void resume() = 0;
};

}  // namespace latentloop
