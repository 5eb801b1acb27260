#include "backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../draws/drawn_codes.h"

namespace latentloop {

using cuda::on_gpu;

struct GpuBackend::Work {
  Work(const cuda::Driver& driver, DeviceGraphs& graphs)
      : stream(driver),
        encoder(graphs, graphs.set().encoder, driver, pool),
        decoder(graphs, graphs.set().decoder, driver, pool) {}

  PageLockedPool pool;
  const cuda::Stream stream;                            // of the loops
  std::map<size_t, std::unique_ptr<DeviceLoop>> loops;  // the last one of each level
  DeviceCodec encoder, decoder;
};

class GpuBackend::GpuDecoding final : public Decoding {
 public:
  GpuDecoding(const GpuBackend& backend, size_t pixels) : backend_(backend), decoded_(pixels) {}
  ~GpuDecoding() override {
    try {
      on_gpu(*backend_.context_, [this] { run_.reset(); });
    } catch (const Error&) {  // the GPU has failed, and nothing runs any more
    }
  }

  void wait() override {
    if (!run_) return;
    on_gpu(*backend_.context_, [this] {
      run_->wait();
      run_.reset();
    });
    if (!std::all_of(decoded_.begin(), decoded_.end(), [](float pixel) { return std::isfinite(pixel); }))
      throw Error(LL_BAD_BUNDLE, text(backend_.graphs_->set().folder, "/", backend_.graphs_->set().decoder.file,
                                      ": pixels that are not finite: the weights are damaged"));
  }

 private:
  friend class GpuBackend;

  const GpuBackend& backend_;
  std::vector<float> decoded_;  // before rounding, to be checked
  std::unique_ptr<CodecRun> run_;
};

GpuBackend::GpuBackend(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const cuda::GpuContext> context,
                       std::shared_ptr<DeviceGraphs> graphs, MakeClassifier make_classifier)
    : bundle_(std::move(bundle)),
      context_(std::move(context)),
      graphs_(std::move(graphs)),
      make_classifier_(std::move(make_classifier)),
      device_(text("tensorrt:", context_->number())),
      work_(on_gpu(*context_, [this] { return std::make_unique<Work>(context_->driver(), *graphs_); })) {}

GpuBackend::~GpuBackend() {
  try {
    on_gpu(*context_, [this] {
      work_->stream.synchronize_quietly();
      work_.reset();
    });
  } catch (const Error&) {  // the caller has destroyed the context, and with it everything in it
  }
}

// Returns the result of `function`, which enqueues loops. After a failure they cannot be used again.
template <typename Function>
void GpuBackend::with_loops(Function function) {
  on_gpu(*context_, [&] {
    try {
      function();
    } catch (const Error& error) {
      if (error.status() != LL_CANCELLED) forget_loops();
      throw;
    } catch (...) {
      forget_loops();
      throw;
    }
  });
}

void GpuBackend::forget_loops() {
  work_->stream.synchronize_quietly();
  work_->loops.clear();
}

void GpuBackend::draw(const BatchInputs& inputs, const DrawCallbacks& callbacks) {
  struct Copied {
    size_t level;
    const int64_t* codes;  // [H, W, B]
  };
  const auto& levels = graphs_->set().levels;
  with_loops([&] {
    Staging staging{work_->stream, work_->pool};
    std::vector<Copied> copies;
    const DeviceTensor* upper = nullptr;  // codes of the level above, if they are only on the GPU
    for (size_t l = 0; l < levels.size(); ++l) {
      const int64_t* codes = inputs.codes[l];
      const int64_t count = inputs.batch * levels[l].height * levels[l].width;
      if (std::all_of(codes, codes + count, [](int64_t code) { return code >= 0; })) {
        upper = nullptr;
        continue;
      }
      DeviceLoop& loop = begin(inputs.of_level(l), upper, staging);
      enqueue_level(l, loop, callbacks);
      copies.push_back({l, staging.copy_out<int64_t>(loop.codes())});
      upper = &loop.codes();
    }
    work_->stream.synchronize();
    for (const Copied& each : copies) {
      const Level& level = levels[each.level];
      const int64_t positions = level.height * level.width;
      check_drawn(bundle_->folder(), level.name, level.codebook_size, each.codes, positions * inputs.batch);
      for (int64_t b = 0; b < inputs.batch; ++b)
        for (int64_t p = 0; p < positions; ++p)
          inputs.codes[each.level][b * positions + p] = each.codes[p * inputs.batch + b];
    }
    staging.release();
  });
}

void GpuBackend::rows(const LevelInputs& inputs, const AfterRow& after_row) {
  struct Enqueued {
    Row row;
    std::unique_ptr<Staging> staging;
    std::unique_ptr<cuda::Event> end;
  };
  with_loops([&] {
    Staging staging{work_->stream, work_->pool};
    DeviceLoop& loop = begin(inputs, nullptr, staging);
    const Level& level = loop.level();
    const auto finish = [&](Enqueued& enqueued) {
      enqueued.end->synchronize();
      check_drawn(bundle_->folder(), level.name, level.codebook_size, enqueued.row.codes, level.width * inputs.batch);
      after_row(enqueued.row);
      enqueued.staging->release();
    };
    Enqueued previous{};
    for (int64_t i = 0; i < level.height; ++i) {
      loop.enqueue_row(i);
      auto copies = std::make_unique<Staging>(work_->stream, work_->pool);
      const Row row{i, copies->copy_out<int64_t>(loop.codes().row(i)), copies->copy_out<float>(loop.logits())};
      Enqueued next{row, std::move(copies), std::make_unique<cuda::Event>(context_->driver(), work_->stream.handle())};
      if (previous.end) finish(previous);  // after the next row is enqueued, so that the GPU does not wait
      previous = std::move(next);
    }
    finish(previous);
    staging.release();
  });
}

// Returns the level's loop, ready for its first row.
DeviceLoop& GpuBackend::begin(const LevelInputs& inputs, const DeviceTensor* upper, Staging& staging) {
  auto& loop = work_->loops[inputs.level];
  if (!loop || loop->batch() != inputs.batch) {
    loop.reset();  // frees its memory before more is allocated
    loop = std::make_unique<DeviceLoop>(*graphs_, graphs_->set().levels[inputs.level], inputs.batch, staging);
  }
  loop->begin(inputs, upper, staging);
  return *loop;
}

// Enqueues all rows of a level. For the progress, a row is enqueued before the previous one is waited for.
void GpuBackend::enqueue_level(size_t index, DeviceLoop& loop, const DrawCallbacks& callbacks) {
  std::unique_ptr<cuda::Event> previous;
  const auto report = [&](int64_t rows) {
    previous->synchronize();
    const cuda::Suspended suspended{*context_};
    callbacks.progress(index, rows);
  };
  for (int64_t i = 0; i < loop.level().height; ++i) {
    callbacks.check();
    loop.enqueue_row(i);
    if (!callbacks.progress) continue;
    if (previous) report(i);
    previous = std::make_unique<cuda::Event>(context_->driver(), work_->stream.handle());
  }
  if (callbacks.progress) report(loop.level().height);
}

void GpuBackend::encode(int64_t n, const uint8_t* images, const std::vector<int64_t*>& codes) {
  std::vector<CodecArray> outputs;
  for (size_t l = 0; l < codes.size(); ++l)
    if (codes[l] != nullptr) outputs.push_back(array(graphs_->set().levels[l].name, codes[l], n));
  const CodecArray input = array("images", images, n);
  const auto on_host = [](const CodecArray& output) { return !output.is_on_gpu; };
  on_gpu(*context_, [&] {
    const auto run = work_->encoder.run(n, {input}, outputs, callers_);
    // With all arrays on the GPU, the caller's stream waits instead.
    if (on_host(input) || std::any_of(outputs.begin(), outputs.end(), on_host)) run->wait();
  });
}

std::unique_ptr<Decoding> GpuBackend::decode(int64_t n, const std::vector<const int64_t*>& codes, int64_t wanted,
                                             uint8_t* images) {
  std::vector<CodecArray> inputs;
  for (size_t l = 0; l < codes.size(); ++l) inputs.push_back(array(graphs_->set().levels[l].name, codes[l], n));
  std::vector<CodecArray> outputs{array("images", images, wanted)};
  const auto is_on_gpu = [](const CodecArray& input) { return input.is_on_gpu; };
  const bool waits = !outputs[0].is_on_gpu || !std::all_of(inputs.begin(), inputs.end(), is_on_gpu);
  const Shape& image = graphs_->set().image;
  auto decoding = std::make_unique<GpuDecoding>(*this, waits ? static_cast<size_t>(wanted * elements(image)) : 0);
  if (waits) outputs.push_back({"decoded", decoding->decoded_.data(), false, wanted});
  on_gpu(*context_, [&] {
    auto run = work_->decoder.run(n, inputs, outputs, callers_);
    if (waits) decoding->run_ = std::move(run);
  });
  return decoding;
}

void GpuBackend::classify(int64_t n, const uint8_t* images, float* probabilities) {
  if (!classifier_) {
    classifier_ = make_classifier_();
    interruptible_ = classifier_.get();
  }
  classifier_->classify(n, images, probabilities);
}

void GpuBackend::set_stream(void* stream) {
  const auto handle = static_cast<cuda::StreamHandle>(stream);
  if (reinterpret_cast<uintptr_t>(stream) > 2) {  // 1 and 2 are the default streams
    on_gpu(*context_, [&] {
      cuda::Context of_stream = nullptr;
      context_->driver().context_of_stream(handle, &of_stream);
      if (of_stream != context_->handle())
        throw Error(LL_INVALID_ARGUMENT, text("the stream belongs to another CUDA context than the sampler, which was ",
                                              "created in the one that was current then, or else in the primary one"));
    });
  }
  callers_ = handle;
}

bool GpuBackend::is_on_gpu(const void* array) const {
  if (array == nullptr) return false;
  const auto pointer = reinterpret_cast<cuda::Pointer>(array);
  const cuda::Driver& driver = context_->driver();
  return on_gpu(*context_, [&] {
    unsigned type = 0;
    int number = -1;
    const int status = driver.pointer_attribute.status(&type, cuda::kMemoryType, pointer);
    if (status == cuda::kInvalidValue) return false;  // memory that CUDA does not know
    if (status != cuda::kSuccess) cuda::fail("cuPointerGetAttribute", status);
    if (type != cuda::kDeviceMemory) return false;
    driver.pointer_attribute(&number, cuda::kDeviceOrdinal, pointer);
    if (number != context_->number())
      throw Error(LL_INVALID_ARGUMENT,
                  text("an array is on GPU ", number, ", expected GPU ", context_->number(), ", the sampler's"));
    cuda::Context owner = nullptr;  // memory of a pool has none
    if (driver.pointer_attribute.status(&owner, cuda::kContextOf, pointer) == cuda::kSuccess && owner != nullptr &&
        owner != context_->handle())
      throw Error(LL_INVALID_ARGUMENT, text("an array is in memory of another CUDA context of GPU ", number,
                                            " than the sampler's, which was current when the sampler was created"));
    return true;
  });
}

void GpuBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const bool to_gpu = is_on_gpu(to), from_gpu = is_on_gpu(from);
  if (!to_gpu && !from_gpu) {
    std::memcpy(to, from, bytes);
    return;
  }
  check_callers_stream();
  on_gpu(*context_, [&] {
    const cuda::Driver& driver = context_->driver();
    const cuda::StreamHandle stream = work_->stream.handle();
    const auto target = reinterpret_cast<cuda::Pointer>(to), source = reinterpret_cast<cuda::Pointer>(from);
    cuda::Event(driver, callers_).delay(stream);
    try {
      if (!to_gpu) {
        driver.copy_out(to, source, bytes, stream);
      } else if (!from_gpu) {
        driver.copy_in(target, from, bytes, stream);
      } else {
        driver.copy(target, source, bytes, stream);
      }
      work_->stream.synchronize();
    } catch (...) {
      work_->stream.synchronize_quietly();  // the copy may use the caller's arrays
      throw;
    }
  });
}

CodecArray GpuBackend::array(const std::string& name, const void* memory, int64_t count) const {
  const bool is_there = is_on_gpu(memory);
  if (is_there) check_callers_stream();
  return {name, const_cast<void*>(memory), is_there, count};
}

// Checks that the library's work can be ordered with that of the caller's stream. The default streams belong to the
// context that is current.
void GpuBackend::check_callers_stream() const {
  cuda::Context current = nullptr;
  context_->driver().current_context(&current);
  if (current != nullptr && current != context_->handle() && reinterpret_cast<uintptr_t>(callers_) <= 2)
    throw Error(LL_INVALID_ARGUMENT,
                text("this sampler was created in another CUDA context of GPU ", context_->number(),
                     ": make that context current, or create a sampler in this one"));
  on_gpu(*context_, [this] {
    int is_capturing = 0;
    context_->driver().is_capturing(callers_, &is_capturing);
    if (is_capturing != 0)
      throw Error(LL_INVALID_ARGUMENT,
                  "the stream is being captured, and the library's work cannot be part of a CUDA graph: end the "
                  "capture first, or set another stream");
  });
}

void GpuBackend::interrupt() noexcept {
  if (Backend* classifier = interruptible_.load()) classifier->interrupt();
}

void GpuBackend::resume() {
  if (classifier_) classifier_->resume();
}

}  // namespace latentloop
