// Working memory of one thread.
#pragma once

#include <stddef.h>
#include <stdlib.h>

namespace {

// Grown to what the thread's largest item needs, freed when the thread ends; the mapping of new pages costs more than
// the transform that fills them.
struct Scratch {
  float* memory = nullptr;
  size_t count = 0;
  ~Scratch() { free(memory); }
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
