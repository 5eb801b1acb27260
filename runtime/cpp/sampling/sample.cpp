#include "sample.h"

#include <algorithm>

#include "batches.h"

namespace latentloop {

void sample(Sampler& sampler, const Request& request, const Output& output, int64_t& finished) {
  const int64_t pixels = image_size(sampler.manifest());
  std::vector<uint8_t> padded;  // the images of a batch that is not full
  const auto finish = [&](const Batch& batch) {
    if (output.images != nullptr) {
      uint8_t* images = output.images + batch.first * pixels;
      if (batch.n < batch.size) padded.resize(batch.size * pixels);
      decode_batch(sampler, batch, padded.empty() ? images : padded.data());
      if (!padded.empty()) std::copy_n(padded.data(), batch.n * pixels, images);
    }
    for (size_t l = 0; output.codes != nullptr && l < batch.codes.size(); ++l) {
      const int64_t size = code_count(sampler.manifest().levels[l]);
      if (output.codes[l] != nullptr)
        std::copy_n(batch.codes[l].data(), batch.n * size, output.codes[l] + batch.first * size);
    }
    finished = batch.first + batch.n;
  };
  draw_batches(sampler, request, request.count(), [&](int64_t i) { return Draw{i, request.seed(i)}; }, finish);
}

}  // namespace latentloop
