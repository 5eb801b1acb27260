// Working memory of one thread, reused by its work items.
#pragma once

#include <stddef.h>
#include <stdlib.h>

namespace {

// Grows to what the thread's largest item needs and is freed when the thread ends. Allocating per item is slower:
// mapping new pages costs more than the transform that fills them.
struct ThreadScratch {
  float* memory = nullptr;
  size_t count = 0;
  ~ThreadScratch() { free(memory); }

  // Returns memory for at least `needed` floats, with undefined contents; null if there is no memory.
  float* at_least(size_t needed) {
    if (count < needed) {
      free(memory);
      memory = static_cast<float*>(malloc(needed * sizeof(float)));
      count = memory ? needed : 0;
    }
    return memory;
  }
};

}  // namespace
