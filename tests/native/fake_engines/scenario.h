// Scenarios by name: small programs with a GPU. tests/test_fake_engines.py says which violation each must have.
#ifndef LATENTLOOP_TESTS_FAKE_ENGINES_SCENARIO_H_
#define LATENTLOOP_TESTS_FAKE_ENGINES_SCENARIO_H_

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda.h"
#include "fake_cuda.h"

inline std::map<std::string, std::function<void()>>& scenarios() {
  static std::map<std::string, std::function<void()>> all;
  return all;
}

struct Registered {
  Registered(const char* name, std::function<void()> run) { scenarios()[name] = std::move(run); }
};

#define SCENARIO(name)                                    \
  static void name();                                     \
  static const Registered registered_##name{#name, name}; \
  static void name()

// Ends the program if a value is not the expected one, for example a status.
#define EXPECT(value, expected)                                                          \
  do {                                                                                   \
    const auto actual = (value);                                                         \
    if (actual != (expected)) {                                                          \
      std::fprintf(stderr, "%s:%d: %s is %s, expected %s\n", __FILE__, __LINE__, #value, \
                   std::to_string(actual).c_str(), #expected);                           \
      std::_Exit(1);                                                                     \
    }                                                                                    \
  } while (false)

#define OK(call) EXPECT(call, 0)

constexpr size_t kSize{1024};  // bytes of an allocation

inline void* new_stream(unsigned flags = 1) {
  void* stream = nullptr;
  OK(cuStreamCreate(&stream, flags));
  return stream;
}

inline uint64_t allocate(void* stream) {
  uint64_t pointer = 0;
  OK(cuMemAllocAsync(&pointer, kSize, stream));
  return pointer;
}

inline unsigned char* page_locked() {
  void* pointer = nullptr;
  OK(cuMemHostAlloc(&pointer, kSize, 0));
  return static_cast<unsigned char*>(pointer);
}

inline void* record(void* stream) {
  void* event = nullptr;
  OK(cuEventCreate(&event, 2));
  OK(cuEventRecord(event, stream));
  return event;
}

inline void* capture(void* stream, const std::function<void()>& work) {
  void *graph = nullptr, *executable = nullptr;
  OK(cuStreamBeginCapture_v2(stream, 1));
  work();
  OK(cuStreamEndCapture(stream, &graph));
  OK(cuGraphInstantiateWithFlags(&executable, graph, 0));
  OK(cuGraphDestroy(graph));
  return executable;
}

#endif  // LATENTLOOP_TESTS_FAKE_ENGINES_SCENARIO_H_
