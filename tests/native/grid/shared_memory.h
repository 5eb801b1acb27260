// An array in a block's shared memory, which records the accesses since the last barrier and detects races.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "errors.h"

namespace latentloop::grid {

class SharedArray {
 public:
  SharedArray(const char* name, Site site, size_t element_bytes, int count)
      : name_(name), site_(site), element_bytes_(element_bytes), elements_(static_cast<size_t>(count)) {
    memory_.resize(elements_.size() * element_bytes);
  }

  bool is(const char* name, Site site) const { return site_ == site && std::strcmp(name_, name) == 0; }
  size_t bytes() const { return memory_.size(); }

  // Returns `count` elements that begin at i, for a thread to read. `epoch` is the number of barriers so far.
  const std::byte* read(int i, int count, int thread, uint32_t epoch) {
    check("reads", i, count);
    for (int at = i; at < i + count; ++at) {
      Element& e = elements_[static_cast<size_t>(at)];
      if (e.writer == kNobody) throw Fault("reads " + text(at) + ", which no thread of this block wrote");
      if (e.written == epoch && e.writer != thread) throw race("reads", at, "wrote", e.writer);
      if (e.read != epoch) e.read = epoch, e.readers = {kNobody, kNobody};
      for (int16_t& reader : e.readers) {
        if (reader == kNobody) reader = static_cast<int16_t>(thread);
        if (reader == thread) break;
      }
    }
    return memory_.data() + static_cast<size_t>(i) * element_bytes_;
  }

  // The same for a thread to write.
  std::byte* write(int i, int count, int thread, uint32_t epoch) {
    check("writes", i, count);
    for (int at = i; at < i + count; ++at) {
      Element& e = elements_[static_cast<size_t>(at)];
      if (e.writer != kNobody && e.written == epoch && e.writer != thread) throw race("writes", at, "wrote", e.writer);
      if (e.read == epoch)
        for (const int16_t reader : e.readers)
          if (reader != kNobody && reader != thread) throw race("writes", at, "read", reader);
      e.written = epoch;
      e.writer = static_cast<int16_t>(thread);
    }
    return memory_.data() + static_cast<size_t>(i) * element_bytes_;
  }

 private:
  static constexpr int16_t kNobody{-1};

  struct Element {
    uint32_t written{}, read{};  // epochs
    int16_t writer{kNobody};
    std::array<int16_t, 2> readers{kNobody, kNobody};  // two are enough: at least one differs from any writer
  };

  void check(const char* does, int i, int count) const {
    if (i < 0 || static_cast<size_t>(i) + static_cast<size_t>(count) > elements_.size())
      throw Fault(std::string(does) + " " + text(i) + " of " + std::to_string(elements_.size()) + " elements");
    if (count > 1 && static_cast<size_t>(i) * element_bytes_ % 16 != 0)
      throw Fault(std::string(does) + " 16 bytes from " + text(i) + ", which is not aligned to 16 bytes");
  }
  Fault race(const char* does, int i, const char* did, int other) const {
    return Fault(std::string(does) + " " + text(i) + ", which thread " + std::to_string(other) + " " + did +
                 " with no barrier between");
  }
  std::string text(int i) const { return std::string(name_) + "[" + std::to_string(i) + "]"; }

  const char* name_;
  Site site_;
  size_t element_bytes_;
  std::vector<Element> elements_;
  std::vector<std::byte> memory_;
};

}  // namespace latentloop::grid
