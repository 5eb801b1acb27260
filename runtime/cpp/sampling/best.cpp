#include "best.h"

#include <algorithm>
#include <numeric>

#include "batches.h"
#include "codec.h"

namespace latentloop {

namespace {

// The candidate that the output has at one place, so far.
struct Slot {
  int64_t candidate{-1};  // its number; -1: none
  float confidence{};
};

bool is_better(const Slot& a, const Slot& b) {  // the earlier one of equals is better
  return a.confidence > b.confidence || (a.confidence == b.confidence && a.candidate < b.candidate);
}

class Selection {
 public:
  Selection(Sampler& sampler, const Request& request, const Output& output)
      : backend_(*sampler.backend),
        manifest_(sampler.manifest()),
        request_(request),
        output_(output),
        slots_(request.count()) {
    places_.resize(manifest_.classes.size());
    for (int64_t i = 0; i < request.count(); ++i) places_[request.label(i)].push_back(i);
  }

  // Keeps sample b of a batch if it is better than the worst one of its label. `image` is the sample's.
  void offer(const Batch& batch, int64_t b, const uint8_t* image, float confidence) {
    const Slot offered{batch.first + b, confidence};
    int64_t worst = -1;
    for (const int64_t place : places_[batch.labels[b]]) {
      if (slots_[place].candidate < 0) {
        worst = place;
        break;
      }
      if (worst < 0 || is_better(slots_[worst], slots_[place])) worst = place;
    }
    if (slots_[worst].candidate >= 0 && !is_better(offered, slots_[worst])) return;
    slots_[worst] = offered;
    if (output_.images != nullptr) copy(image, image_size(manifest_), output_.images + worst * image_size(manifest_));
    for (size_t l = 0; output_.codes != nullptr && l < batch.codes.size(); ++l) {
      const int64_t size = code_count(manifest_.levels[l]);
      if (output_.codes[l] != nullptr) copy(batch.codes[l].data() + b * size, size, output_.codes[l] + worst * size);
    }
  }

  // Sorts the kept samples of each label by their number, puts all of them first, in the order of the request's labels,
  // and returns how many there are.
  int64_t arrange(const Kept& kept) {
    std::vector<int64_t> from(slots_.size(), -1);  // the slot that belongs at each place
    for (const auto& places : places_) {
      std::vector<int64_t> filled;
      for (const int64_t place : places)
        if (slots_[place].candidate >= 0) filled.push_back(place);
      std::sort(filled.begin(), filled.end(),
                [this](int64_t a, int64_t b) { return slots_[a].candidate < slots_[b].candidate; });
      for (size_t k = 0; k < filled.size(); ++k) from[places[k]] = filled[k];
    }
    std::vector<int64_t> at(slots_.size()), slot_at(slots_.size());  // where a slot is by now, and which one is there
    std::iota(at.begin(), at.end(), 0);
    std::iota(slot_at.begin(), slot_at.end(), 0);
    int64_t finished = 0;
    for (size_t place = 0; place < from.size(); ++place) {
      if (from[place] < 0) continue;
      const Slot& slot = slots_[from[place]];
      if (kept.seeds != nullptr) kept.seeds[finished] = seed(slot.candidate);
      if (kept.labels != nullptr) kept.labels[finished] = request_.label(static_cast<int64_t>(place));
      if (kept.confidence != nullptr) kept.confidence[finished] = slot.confidence;
      const int64_t now = at[from[place]];
      swap_samples(finished, now);
      std::swap(slot_at[finished], slot_at[now]);
      at[slot_at[finished]] = finished;
      at[slot_at[now]] = now;
      ++finished;
    }
    return finished;
  }

  uint64_t seed(int64_t candidate) const { return request_.params().seed + static_cast<uint64_t>(candidate); }

 private:
  // The output can be in memory of a GPU.
  template <typename T>
  void copy(const T* from, int64_t count, T* to) {
    backend_.copy(to, from, static_cast<size_t>(count) * sizeof(T));
  }

  void swap_samples(int64_t a, int64_t b) {
    if (a == b) return;
    const auto swap = [this, a, b](auto* values, int64_t size) {
      std::vector<std::decay_t<decltype(*values)>> of_a(size), of_b(size);
      copy(values + a * size, size, of_a.data());
      copy(values + b * size, size, of_b.data());
      copy(of_a.data(), size, values + b * size);
      copy(of_b.data(), size, values + a * size);
    };
    if (output_.images != nullptr) swap(output_.images, image_size(manifest_));
    for (size_t l = 0; output_.codes != nullptr && l < manifest_.levels.size(); ++l)
      if (output_.codes[l] != nullptr) swap(output_.codes[l], code_count(manifest_.levels[l]));
  }

  Backend& backend_;
  const Manifest& manifest_;
  const Request& request_;
  const Output& output_;
  std::vector<Slot> slots_;                   // [count]
  std::vector<std::vector<int64_t>> places_;  // of the output, by label
};

void check(const Manifest& manifest, const Request& request, int64_t candidates) {
  if (manifest.classes.empty())
    throw Error(LL_INVALID_ARGUMENT, "the bundle has no classes, so a classifier cannot compare samples");
  check_classifier(manifest);
  if (request.params().seeds != nullptr)
    throw Error(LL_INVALID_ARGUMENT, "seeds is not null: candidates have the seeds from params->seed on");
  if (request.count() > kMostKept)
    throw Error(LL_INVALID_ARGUMENT, text("count is ", request.count(), ", expected at most ", kMostKept));
  const int64_t most = kMostSamples / request.count();
  if (candidates < 1 || candidates > most)
    throw Error(LL_INVALID_ARGUMENT, text("candidates is ", candidates, ", expected from 1 to ", most));
  if (request.params().seed + static_cast<uint64_t>(candidates * request.count() - 1) < request.params().seed)
    throw Error(LL_INVALID_ARGUMENT, "seed: the last candidate's would be over 2^64 - 1");
}

}  // namespace

void sample_best(Sampler& sampler, const Request& request, int64_t candidates, const Output& output, const Kept& kept,
                 int64_t& finished) {
  const Manifest& manifest = sampler.manifest();
  check(manifest, request, candidates);
  const int64_t pixels = image_size(manifest), all = candidates * request.count();
  Selection selection{sampler, request, output};
  const int64_t size = request.batch(all);
  std::vector<uint8_t> images(size * pixels);
  std::vector<float> probabilities(size * manifest.classes.size());
  const auto draw = [&](int64_t candidate) { return Draw{candidate % request.count(), selection.seed(candidate)}; };
  const auto finish = [&](const Batch& batch) {
    decode_batch(sampler, batch, images.data())->wait();
    classify(sampler, images.data(), batch.n, probabilities.data());
    for (int64_t b = 0; b < batch.n; ++b) {
      const float confidence = probabilities[b * manifest.classes.size() + batch.labels[b]];
      selection.offer(batch, b, images.data() + b * pixels, confidence);
    }
  };
  try {
    draw_batches(sampler, request, all, draw, finish);
  } catch (...) {
    finished = selection.arrange(kept);
    throw;
  }
  finished = selection.arrange(kept);
}

}  // namespace latentloop
