#include "sample.h"

#include <algorithm>

#include "batches.h"

namespace latentloop {

// Each batch is decoded while the next one is drawn, if the device can do both at once.
void sample(Sampler& sampler, const Request& request, const Output& output, int64_t& finished) {
  const Manifest& manifest = sampler.manifest();
  std::unique_ptr<Decoding> decoding;  // of the last batch
  int64_t drawn = 0;
  const auto wait = [&] {
    if (decoding) decoding->wait();
    decoding.reset();
    finished = drawn;
  };
  const auto finish = [&](const Batch& batch) {
    wait();
    for (size_t l = 0; output.codes != nullptr && l < batch.codes.size(); ++l) {
      const int64_t size = code_count(manifest.levels[l]);
      if (output.codes[l] != nullptr)
        sampler.backend->copy(output.codes[l] + batch.first * size, batch.codes[l].data(),
                              static_cast<size_t>(batch.n * size) * sizeof(int64_t));
    }
    if (output.images != nullptr)
      decoding = decode_batch(sampler, batch, output.images + batch.first * image_size(manifest));
    drawn = batch.first + batch.n;
  };
  try {
    draw_batches(sampler, request, request.count(), [&](int64_t i) { return Draw{i, request.seed(i)}; }, finish);
  } catch (...) {
    try {
      wait();
    } catch (const Error&) {  // the first error says why
    }
    throw;
  }
  wait();
}

}  // namespace latentloop
