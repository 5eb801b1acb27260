// Runs a scenario by name, in the primary context of device 0, and prints the violation.
#include <cstdio>

#include "scenario.h"

int main(int count, char** arguments) {
  const auto found = scenarios().find(count == 2 ? arguments[1] : "");
  if (found == scenarios().end()) {
    for (const auto& [name, run] : scenarios()) std::printf("%s\n", name.c_str());
    return 0;
  }
  void* context = nullptr;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuCtxPushCurrent_v2(context));
  found->second();
  fake_cuda_finish();
  std::printf("%s", fake_cuda_violation());
  return 0;
}
