// The history of accesses against a list of all of them; merged accesses; threads.
#include "accesses.h"

#include <random>
#include <set>
#include <thread>

#include "scenario.h"

using fake_cuda::Access;
using fake_cuda::Work;

namespace {

struct Recorded {
  std::shared_ptr<const Work> work;
  size_t first, size;
  bool writes;
};

// Returns the work that must finish before an access: for each byte the last write, and before a write the reads since.
std::set<const Work*> conflicts(const std::vector<Recorded>& all, size_t first, size_t size, bool writes) {
  std::set<const Work*> found;
  for (size_t byte = first; byte < first + size; ++byte) {
    std::set<int> streams;  // whose last read is found
    for (auto each = all.rbegin(); each != all.rend(); ++each) {
      if (byte < each->first || byte >= each->first + each->size) continue;
      if (each->writes) {
        found.insert(each->work.get());
        break;
      }
      if (writes && streams.insert(each->work->stream).second) found.insert(each->work.get());
    }
  }
  return found;
}

}  // namespace

SCENARIO(history_equals_a_list_of_all_accesses) {
  constexpr size_t kBytes{24};
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random{seed};
    fake_cuda::AccessHistory history{kBytes};
    std::vector<Recorded> all;
    for (size_t number = 1; number <= 60; ++number) {
      const size_t first = random() % kBytes, size = random() % (kBytes - first + 1);
      const bool writes = random() % 3 == 0;
      const auto found = history.conflicts(first, size, writes);
      EXPECT(std::set<const Work*>(found.begin(), found.end()) == conflicts(all, first, size, writes), true);
      const auto work = std::make_shared<const Work>(Work{"", static_cast<int>(random() % 3), number, {}, nullptr});
      history.add(first, size, writes, work);
      all.push_back({work, first, size, writes});
    }
  }
}

SCENARIO(merged_accesses) {
  const std::vector<Access> accesses{{"b", 104, 4},      {"a", 100, 4},       {"c", 112, 4},
                                     {"d", 96, 8, true}, {"e", 104, 2, true}, {"f", 108, 4, false, true}};
  std::string merged;
  for (const Access& each : fake_cuda::merge_accesses(accesses)) {
    merged += each.name + std::to_string(each.pointer) + "+" + std::to_string(each.size);
    merged += std::string(each.writes ? "w" : "") + (each.host ? "h" : "") + " ";
  }
  EXPECT(merged == "a100+8 c112+4 f108+4h d96+10w ", true);
}

// Each thread has its own stream and memory; all share the driver.
SCENARIO(threads) {
  void* context = nullptr;
  OK(cuDevicePrimaryCtxRetain(&context, 0));
  std::vector<std::thread> threads;
  for (unsigned char number = 0; number < 4; ++number) {
    threads.emplace_back([context, number] {
      OK(cuCtxPushCurrent_v2(context));
      void* stream = new_stream();
      const uint64_t memory = allocate(stream);
      unsigned char* target = page_locked();
      for (int turn = 0; turn < 50; ++turn) {
        OK(cuMemsetD8Async(memory, number, kSize, stream));
        OK(cuMemcpyDtoHAsync_v2(target, memory, kSize, stream));
        OK(cuEventSynchronize(record(stream)));
        EXPECT(target[kSize - 1], number);
      }
      EXPECT(fake_cuda_live("contexts"), 1);
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT(fake_cuda_live("streams"), 4);
}
