// Rejection sampling (VQ-VAE-2, section 3.3): of several candidates, those are kept for which the classifier gives the
// highest probability to their label.
#pragma once

#include "sample.h"

namespace latentloop {

// Where the kept samples' seeds, labels and probabilities go: arrays [count] of the caller's, or null.
struct Kept {
  uint64_t* seeds;
  int64_t* labels;
  float* confidence;
};

// Draws `candidates` for each sample of the request, with consecutive seeds, and keeps the best ones of each label in
// the order of their seeds. `finished` is always the number of samples in the output, also if the run is cancelled.
void sample_best(Sampler& sampler, const Request& request, int64_t candidates, const Output& output, const Kept& kept,
                 int64_t& finished);

}  // namespace latentloop
