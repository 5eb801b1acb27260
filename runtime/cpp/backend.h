// What runs the graphs of a bundle on one device. A sampler owns a backend, and only one thread at a time uses it,
// except for interrupt().
//
// Images and codes are arrays of the caller's: in memory of the host, or, for a backend on a GPU, in memory of that
// GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "draws/level_settings.h"

namespace latentloop {

constexpr int64_t kLargestBatch{4096};  // samples; no backend accepts more at once

// Inputs of one level for a batch of B samples, in memory of the host.
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

// A batch of B samples to draw, in memory of the host.
struct BatchInputs {
  int64_t batch;                               // B
  const uint64_t* seeds;                       // [B]
  const int64_t* labels;                       // [B]; null without classes
  std::vector<const LevelSettings*> settings;  // by level
  std::vector<int64_t*> codes;                 // by level, [B, H, W]: each -1 is replaced by the code that is drawn

  LevelInputs of_level(size_t l) const {
    return {l, batch, seeds, codes[l], l == 0 ? nullptr : codes[l - 1], labels, settings[l]};
  }
};

// What a backend calls while it draws. Both functions may throw, which ends the run.
struct DrawCallbacks {
  std::function<void()> check;                               // about once a row, finished or not
  std::function<void(size_t level, int64_t rows)> progress;  // when a row is finished; empty: it need not wait for rows
};

// Images that are being decoded.
class Decoding {
 public:
  Decoding() = default;
  Decoding(const Decoding&) = delete;
  Decoding& operator=(const Decoding&) = delete;
  virtual ~Decoding() = default;

  // Waits for the images. Throws Error, also LL_BAD_BUNDLE for pixels that are not finite.
  virtual void wait() = 0;
};

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  virtual const std::string& device() const = 0;

  // The largest number of samples in one batch.
  virtual int64_t largest_batch() const = 0;

  // Draws a batch, level by level. Throws Error, also LL_BAD_BUNDLE for logits that are not finite.
  virtual void draw(const BatchInputs& inputs, const DrawCallbacks& callbacks) = 0;

  // Runs the loop of one level. Throws Error like draw().
  virtual void rows(const LevelInputs& inputs, const AfterRow& after_row) = 0;

  // Encodes images [n, H, W, C] to codes by level [n, h, w]; null for levels that are not wanted.
  virtual void encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) = 0;

  // Starts to decode codes by level [n, h, w], and to write the first `wanted` images [wanted, H, W, C]. The codes may
  // be changed at once; the next batch may be drawn before the images are finished.
  virtual std::unique_ptr<Decoding> decode(int64_t n, const std::vector<const int64_t*>& codes, int64_t wanted,
                                           uint8_t* images) = 0;

  // Computes the classifier's probabilities [n, classes] of images [n, H, W, C]; both in memory of the host.
  virtual void classify(int64_t n, const uint8_t* images, float* probabilities) = 0;

  // Sets the stream of the caller's in whose order arrays in memory of the GPU are read and written; null: the legacy
  // default stream. Throws Error (LL_INVALID_ARGUMENT) for a backend on a CPU.
  virtual void set_stream(void* stream) = 0;

  // Whether an array is in memory of a GPU. Throws Error (LL_INVALID_ARGUMENT) for another GPU than the backend's.
  virtual bool is_on_gpu(const void* array) const = 0;

  // Copies between arrays, and waits.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;

  // Makes the run of a graph end soon with an exception, and every later one, until resume() is called. Any thread may
  // call it, also a signal handler.
  virtual void interrupt() noexcept = 0;
  virtual void resume() = 0;
};

}  // namespace latentloop
