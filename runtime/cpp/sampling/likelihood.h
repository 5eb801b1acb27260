// ll_log_likelihood: the log-probability of codes under the priors.
#pragma once

#include "sampler.h"

namespace latentloop {

// Arrays are those of the function of the C interface. Throws Error for a level without a prior, and for codes and
// labels that are not allowed.
void log_likelihood(Sampler& sampler, const int64_t* const* codes, const int64_t* labels, int64_t count,
                    double* const* nats);

}  // namespace latentloop
