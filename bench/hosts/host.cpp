// The C++ host of `latentloop bench embedding` and `throughput`: opens a bundle and draws batches of images one after
// the other. python_host.py is the same program in Python.
//
// host BUNDLE DEVICE PRECISION THREADS SEED BATCH COUNT SECONDS: draws a batch of BATCH images, then COUNT more, and
// more until SECONDS have passed since the first. Prints a line of JSON:
//   ends           seconds of the monotonic clock at which main began, the packages were loaded (here: the same), the
//                  bundle was open, the sampler made, and the first batch drawn
//   nanoseconds    of each further batch: COUNT or more
//   peak_bytes     the most resident memory of the process
//   file_bytes     resident pages of files, which processes share: libraries, weights
//   crc            CRC-32 of the codes of the first 1 + COUNT batches, int64, batch by batch and level by level
//   graph_seconds  of all runs of graphs for the further batches, and their number: 0 unless ONNX Runtime's library is
//   graph_runs     timed_onnxruntime.cpp
#include <dlfcn.h>
#include <latentloop/latentloop.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;  // on Linux the clock of Python's time.monotonic

double monotonic() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

uint32_t crc32(const std::vector<int64_t>& values) {
  uint32_t crc = ~0u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof values[0]; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

// Returns a number of /proc/self/status in bytes, of the line that begins with `name`; 0 if the system does not tell.
long long memory_bytes(const std::string& name) {
  long long kilobytes = 0;
  const std::string format = name + ": %lld kB";
  if (FILE* status = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, status) && std::sscanf(line, format.c_str(), &kilobytes) != 1) continue;
    std::fclose(status);
  }
  return kilobytes * 1024;
}

struct GraphTime {
  int64_t nanoseconds{}, runs{};
};

// Returns what timed_onnxruntime.cpp has measured so far; zeros if another library is ONNX Runtime.
GraphTime graph_time() {
  GraphTime time;
  const char* path = std::getenv("LATENTLOOP_ONNXRUNTIME");
  void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return time;
  using Function = void (*)(int64_t*, int64_t*);
  if (const auto read = reinterpret_cast<Function>(dlsym(library, "latentloop_bench_graph_time")))
    read(&time.nanoseconds, &time.runs);
  dlclose(library);
  return time;
}

void check(ll_status status) {
  if (status == LL_OK) return;
  std::fprintf(stderr, "%s\n", ll_last_error());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const double begun = monotonic();
  if (argc != 9) {
    std::fprintf(stderr, "expected BUNDLE DEVICE PRECISION THREADS SEED BATCH COUNT SECONDS\n");
    return 2;
  }
  const uint64_t seed = std::strtoull(argv[5], nullptr, 10);
  const auto batch = static_cast<size_t>(std::strtoull(argv[6], nullptr, 10));
  const auto count = static_cast<size_t>(std::strtoull(argv[7], nullptr, 10));
  const std::chrono::duration<double> least{std::strtod(argv[8], nullptr)};
  ll_bundle* bundle = nullptr;
  check(ll_bundle_open(argv[1], &bundle));
  const double opened = monotonic();
  ll_sampler_params sampler_params = ll_default_sampler_params();
  sampler_params.device = argv[2];
  sampler_params.precision = argv[3];
  sampler_params.threads = std::atoi(argv[4]);
  ll_sampler* sampler = nullptr;
  check(ll_sampler_create(bundle, &sampler_params, &sampler));
  const double created = monotonic();

  int32_t height = 0, width = 0, channels = 0;
  check(ll_bundle_image(bundle, &height, &width, &channels));
  std::vector<uint8_t> images(batch * height * width * channels);
  std::vector<size_t> sizes;
  size_t codes_per_batch = 0;
  for (int32_t index = 0; index < ll_bundle_levels(bundle); ++index) {
    ll_level level;
    check(ll_bundle_level(bundle, index, &level));
    sizes.push_back(batch * level.height * level.width);
    codes_per_batch += sizes.back();
  }
  std::vector<int64_t> codes((count + 1) * codes_per_batch), later(codes_per_batch);  // those of `later` are dropped
  const auto draw = [&](size_t number) {
    std::vector<int64_t*> levels;
    int64_t* next = number <= count ? codes.data() + number * codes_per_batch : later.data();
    for (const size_t size : sizes) {
      levels.push_back(next);
      next += size;
    }
    ll_sample_params params = ll_default_sample_params();
    params.count = static_cast<int64_t>(batch);
    params.batch = params.count;
    params.seed = seed + number * batch;
    check(ll_sample(sampler, &params, images.data(), images.size(), levels.data(), nullptr));
  };

  draw(0);
  const double drawn = monotonic();
  const GraphTime before = graph_time();
  const auto first = Clock::now();
  std::vector<int64_t> nanoseconds;
  for (size_t number = 1; number <= count || Clock::now() - first < least; ++number) {
    const auto begin = Clock::now();
    draw(number);
    nanoseconds.push_back(std::chrono::nanoseconds{Clock::now() - begin}.count());
  }
  const GraphTime after = graph_time();
  const long long peak = memory_bytes("VmHWM"), files = memory_bytes("RssFile");
  ll_sampler_destroy(sampler);
  ll_bundle_close(bundle);

  std::printf("{\"ends\": [%.9f, %.9f, %.9f, %.9f, %.9f], \"nanoseconds\": [", begun, begun, opened, created, drawn);
  for (size_t i = 0; i < nanoseconds.size(); ++i) std::printf("%s%" PRId64, i ? ", " : "", nanoseconds[i]);
  std::printf("], \"peak_bytes\": %lld, \"file_bytes\": %lld, \"crc\": %" PRIu32, peak, files, crc32(codes));
  std::printf(", \"graph_seconds\": %.9f, \"graph_runs\": %" PRId64 "}\n",
              (after.nanoseconds - before.nanoseconds) / 1e9, after.runs - before.runs);
}
