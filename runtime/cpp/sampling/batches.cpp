#include "batches.h"

#include <algorithm>

namespace latentloop {

namespace {

// Sets the batch's seeds and labels, and its codes to those given, else -1.
void prepare(const Manifest& manifest, const Request& request, const std::function<Draw(int64_t)>& draw, int64_t last,
             Batch& batch) {
  for (int64_t b = 0; b < batch.size; ++b) {
    const Draw each = draw(std::min(batch.first + b, last));
    batch.seeds[b] = each.seed;
    batch.labels[b] = request.label(each.index);
    for (size_t l = 0; l < batch.codes.size(); ++l) {
      const int64_t size = code_count(manifest.levels[l]);
      const int64_t* given = request.given(l, each.index);
      int64_t* codes = batch.codes[l].data() + b * size;
      if (given == nullptr) {
        std::fill_n(codes, size, int64_t{-1});
      } else {
        std::copy_n(given, size, codes);
      }
    }
  }
}

void report(const Request& request, size_t level, int64_t row, int64_t rows, const Batch& batch, int64_t count) {
  const ll_sample_params& params = request.params();
  ll_progress progress{};
  progress.size = sizeof progress;
  progress.level = static_cast<int32_t>(level);
  progress.row = static_cast<int32_t>(row);
  progress.rows = static_cast<int32_t>(rows);
  progress.image = batch.first;
  progress.images = count;
  if (params.progress(&progress, params.user) != 0) throw Error(LL_CANCELLED, "cancelled by the progress function");
}

}  // namespace

void draw_batches(Sampler& sampler, const Request& request, int64_t count, const std::function<Draw(int64_t)>& draw,
                  const std::function<void(const Batch&)>& finish) {
  const Manifest& manifest = sampler.manifest();
  Batch batch;
  batch.size = request.batch(count);
  batch.seeds.resize(batch.size);
  batch.labels.resize(batch.size);
  for (const Level& level : manifest.levels) batch.codes.emplace_back(batch.size * code_count(level));
  BatchInputs inputs{batch.size, batch.seeds.data(), batch.labels.data(), {}, {}};
  for (size_t l = 0; l < manifest.levels.size(); ++l) {
    inputs.settings.push_back(&request.settings(l));
    inputs.codes.push_back(batch.codes[l].data());
  }
  DrawCallbacks callbacks{[&sampler] { check_cancelled(sampler); }, {}};
  if (request.params().progress != nullptr) {
    callbacks.progress = [&](size_t l, int64_t rows) {
      report(request, l, rows, manifest.levels[l].height, batch, count);
    };
  }
  for (batch.first = 0; batch.first < count; batch.first += batch.size) {
    batch.n = std::min(batch.size, count - batch.first);
    prepare(manifest, request, draw, count - 1, batch);
    sampler.backend->draw(inputs, callbacks);
    check_cancelled(sampler);
    finish(batch);
  }
}

std::unique_ptr<Decoding> decode_batch(Sampler& sampler, const Batch& batch, uint8_t* images) {
  std::vector<const int64_t*> codes;
  for (const auto& level : batch.codes) codes.push_back(level.data());
  return sampler.backend->decode(batch.size, codes, batch.n, images);
}

}  // namespace latentloop
