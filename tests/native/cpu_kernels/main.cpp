// Tests of all kernels of one instruction set: against plain loops in float64 on random inputs, and that a sample's
// results alone and in a batch are bit-identical. Link with one compiled kernels/instruction_set.cpp; compile both with
// LATENTLOOP_KERNELS, the name of the function. Arguments: the kernels to test; default: all.
//
// Outputs, and inputs that a kernel must not read, are filled with NaN.
#include "attention_test.h"
#include "causal_above_test.h"
#include "causal_left_test.h"
#include "draw_test.h"
#include "input_test.h"
#include "nearest_test.h"
#include "prior_test.h"
#include "residual_blocks_test.h"

#if defined(__SANITIZE_ADDRESS__)
// Fill new memory with NaN, to detect reads of scratch memory and packed weights that were never written.
extern "C" const char* __asan_default_options() { return "max_malloc_fill_size=1073741824:malloc_fill_byte=255"; }
#endif

int main(int count, char** arguments) {
  const std::pair<const char*, void (*)(Random&)> tests[]{
      {"left", test_left},           {"above", test_above},    {"residual_blocks", test_residual_blocks},
      {"attention", test_attention}, {"draw", test_draw},      {"input", test_input},
      {"prior", test_prior},         {"nearest", test_nearest}};
  for (const auto& [name, test] : tests) {
    bool is_requested = count == 1;
    for (int i = 1; i < count; ++i) is_requested = is_requested || std::strcmp(arguments[i], name) == 0;
    if (!is_requested) continue;
    Random random(1);  // its own generator, so that a test does the same alone and with others
    test(random);
  }
  return 0;
}
