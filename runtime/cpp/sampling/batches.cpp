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
  if (params.progress == nullptr) return;
  ll_progress progress{};
  progress.size = sizeof progress;
  progress.level = static_cast<int32_t>(level);
  progress.row = static_cast<int32_t>(row);
  progress.rows = static_cast<int32_t>(rows);
  progress.image = batch.first;
  progress.images = count;
  if (params.progress(&progress, params.user) != 0) throw Error(LL_CANCELLED, "cancelled by the progress function");
}

void draw_level(Sampler& sampler, const Request& request, size_t l, Batch& batch, int64_t count) {
  const Level& level = sampler.manifest().levels[l];
  std::vector<int64_t>& codes = batch.codes[l];
  if (std::all_of(codes.begin(), codes.end(), [](int64_t code) { return code >= 0; })) return;
  LevelInputs inputs{};
  inputs.level = l;
  inputs.batch = batch.size;
  inputs.seeds = batch.seeds.data();
  inputs.forced = codes.data();  // a row of it is read before that row is overwritten below
  inputs.upper = l == 0 ? nullptr : batch.codes[l - 1].data();
  inputs.labels = batch.labels.data();
  inputs.settings = &request.settings(l);
  sampler.backend->rows(inputs, [&](const Row& row) {
    for (int64_t b = 0; b < batch.size; ++b)
      for (int64_t j = 0; j < level.width; ++j)
        codes[(b * level.height + row.i) * level.width + j] = row.codes[j * batch.size + b];
    report(request, l, row.i + 1, level.height, batch, count);
    check_cancelled(sampler);
  });
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
  for (batch.first = 0; batch.first < count; batch.first += batch.size) {
    batch.n = std::min(batch.size, count - batch.first);
    prepare(manifest, request, draw, count - 1, batch);
    for (size_t l = 0; l < manifest.levels.size(); ++l) draw_level(sampler, request, l, batch, count);
    check_cancelled(sampler);
    finish(batch);
  }
}

void decode_batch(Sampler& sampler, const Batch& batch, uint8_t* images) {
  std::vector<const int64_t*> codes;
  for (const auto& level : batch.codes) codes.push_back(level.data());
  sampler.backend->decode(batch.size, codes, images);
}

}  // namespace latentloop
