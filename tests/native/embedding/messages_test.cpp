// The last error is that of the calling thread, and messages go to the log function, and nowhere without one.
#include <unistd.h>

#include <mutex>
#include <thread>

#include "program.h"

namespace {

void test_last_error() {
  ll_bundle* bundle = nullptr;
  REFUSED(LL_BAD_BUNDLE, "first", ll_bundle_open("first", &bundle));
  std::thread([&] {
    REQUIRE(std::strcmp(ll_last_error(), "") == 0);
    REFUSED(LL_BAD_BUNDLE, "second", ll_bundle_open("second", &bundle));
  }).join();
  REQUIRE(std::strstr(ll_last_error(), "first") != nullptr);
  REQUIRE(ll_bundle_image(nullptr, nullptr, nullptr, nullptr) == LL_INVALID_ARGUMENT);
  REFUSED(LL_BAD_BUNDLE, "no such directory", ll_bundle_open(ll_last_error(), &bundle));  // its own memory
}

void test_at_once() {
  std::vector<std::thread> threads;
  for (const char* name : {"one", "other"}) {
    threads.emplace_back([name] {
      ll_bundle* bundle = nullptr;
      for (int i = 0; i < 500; ++i) {
        REFUSED(LL_BAD_BUNDLE, name, ll_bundle_open(name, &bundle));
        ll_set_log(nullptr, &bundle);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Log {
  std::mutex mutex;
  std::vector<std::string> texts;
};

void record(int level, const char* text, void* user) {
  REQUIRE((level == LL_LOG_INFO || level == LL_LOG_WARNING) && text[0] != '\0');
  // The library holds no lock meanwhile.
  REFUSED(LL_INVALID_ARGUMENT, "is loaded already", ll_set_onnxruntime(nullptr));
  auto* log = static_cast<Log*>(user);
  const std::lock_guard<std::mutex> lock(log->mutex);
  log->texts.emplace_back(text);
}

// Replaces stdout and stderr by a file, and requires that nothing was written when it ends.
class Silence {
 public:
  Silence() : file_(std::tmpfile()), kept_{dup(1), dup(2)} {
    REQUIRE(file_ != nullptr);
    for (const int output : {1, 2}) REQUIRE(dup2(fileno(file_), output) == output);
  }
  ~Silence() {
    for (const int output : {1, 2}) REQUIRE(dup2(kept_[output - 1], output) == output);
    REQUIRE(lseek(fileno(file_), 0, SEEK_END) == 0);
    std::fclose(file_);
  }

 private:
  FILE* file_;
  int kept_[2];
};

}  // namespace

int main(int count, char** arguments) {
  const char* folder = embedding::folder(count, arguments);
  test_last_error();
  test_at_once();
  Log log;
  ll_set_log(record, &log);
  {
    const embedding::Opened opened(folder);  // skips the rest without ONNX Runtime
    REQUIRE(opened.levels.size() > 0);
  }
  ll_set_log(nullptr, nullptr);
  REQUIRE(!log.texts.empty() && log.texts[0].find("ONNX Runtime: ") == 0);
  const bool has_operators = std::getenv("LATENTLOOP_NO_OPERATORS") == nullptr;  // set where they were not built
  REQUIRE(log.texts.size() == (has_operators ? 1 : 2));
  REQUIRE(has_operators || log.texts[1].find("liblatentloop_operators.so is not in /") == 0);
  const size_t texts = log.texts.size();
  const Silence silence;
  const embedding::Opened opened(folder);
  embedding::Samples samples(opened, 1);
  REQUIRE(samples.draw(opened.sampler, embedding::request(1, 0)) == LL_OK);
  REQUIRE(samples.draw(opened.sampler, embedding::request(0, 0)) == LL_INVALID_ARGUMENT);
  REQUIRE(log.texts.size() == texts);
}
