// The values of the C++ wrapper, which latentloop.hpp includes: errors, codes, images, and what is drawn.
#ifndef LATENTLOOP_VALUES_HPP
#define LATENTLOOP_VALUES_HPP

#include <latentloop/latentloop.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace latentloop {

// Inline, so that these classes are not those of the same names inside a static library.
inline namespace wrapper {

// A failure: its status, and the library's text as what().
class Error : public std::runtime_error {
 public:
  Error(ll_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  ll_status status() const noexcept { return status_; }

 private:
  ll_status status_;
};

// Throws Error if the status of a call, the last one in this thread, is not LL_OK.
inline void check(ll_status status) {
  if (status != LL_OK) throw Error(status, ll_last_error());
}

using Codes = std::vector<std::vector<int64_t>>;  // by level: [count, height, width]

struct Level {
  std::string name;
  int32_t height, width, codebook_size;
  bool has_prior;

  int64_t size() const { return int64_t{height} * width; }
};

struct Images {
  int64_t count{0};
  int32_t height{0}, width{0}, channels{0};
  std::vector<uint8_t> pixels;  // [count, height, width, channels]

  int64_t image_bytes() const { return int64_t{height} * width * channels; }
  const uint8_t* image(int64_t index) const { return pixels.data() + index * image_bytes(); }
};

struct SamplerParams {
  int32_t threads{0};
  std::string device{"auto"};
  std::string precision{"float32"};
};

// What is drawn. Empty vectors are the defaults; the others must have the size that is given here.
struct SampleParams {
  int64_t count{1};
  uint64_t seed{0};
  std::vector<uint64_t> seeds;                   // [count]
  std::vector<int64_t> labels;                   // [count]
  std::vector<float> temperature, top_p, min_p;  // [levels]
  std::vector<int64_t> top_k;                    // [levels]
  Codes given;  // [levels] of [count, height, width], or of empty vectors; -1: draw the code
  // Instead of `given`: [levels] of [count, height, width] in memory of the host or of the GPU; null: draw the level.
  std::vector<const int64_t*> given_arrays;
  int64_t batch{0};
  // Called after every row: the run goes on if the result is true. If it throws, the run is cancelled, and `sample`
  // throws the exception.
  std::function<bool(const ll_progress&)> progress;
};

// Finished samples. After a cancellation there are fewer than `count`.
struct Samples {
  Images images;
  Codes codes;
  bool cancelled{false};
  // Of sample_best, else empty: [count].
  std::vector<uint64_t> seeds;
  std::vector<int64_t> labels;
  std::vector<float> confidence;
};

namespace detail {

// The number of elements of `count` arrays of `size`; 0 for a negative count, which the library refuses.
inline size_t length(int64_t count, int64_t size) {
  if (count > 0 && size > 0 && count > PTRDIFF_MAX / 8 / size) throw std::length_error("too many samples");
  return static_cast<size_t>(count > 0 ? count * size : 0);
}

inline void check_length(const std::string& name, size_t found, size_t expected) {
  const std::string text = ": " + std::to_string(found) + " elements, expected " + std::to_string(expected);
  if (found != expected) throw Error(LL_INVALID_ARGUMENT, name + text);
}

// NULL for an empty vector, which stands for the default; others must have the length of `count` arrays of `size`.
template <typename T>
const T* data(const std::string& name, const std::vector<T>& values, int64_t count, int64_t size = 1) {
  if (values.empty()) return nullptr;
  check_length(name, values.size(), length(count, size));
  return values.data();
}

template <typename T>
std::vector<T*> pointers(std::vector<std::vector<T>>& arrays) {
  std::vector<T*> pointers;
  for (std::vector<T>& array : arrays) pointers.push_back(array.data());
  return pointers;
}

inline std::vector<const int64_t*> pointers(const Codes& codes) {
  std::vector<const int64_t*> pointers;
  for (const std::vector<int64_t>& level : codes) pointers.push_back(level.data());
  return pointers;
}

// The caller's function in the form of the C interface, which exceptions must not cross.
struct Progress {
  const std::function<bool(const ll_progress&)>& function;
  std::exception_ptr exception;

  static int call(const ll_progress* progress, void* user) noexcept {
    Progress& self = *static_cast<Progress*>(user);
    try {
      return self.function(*progress) ? 0 : 1;
    } catch (...) {
      self.exception = std::current_exception();
      return 1;
    }
  }
};

}  // namespace detail

}  // namespace wrapper
}  // namespace latentloop

#endif
