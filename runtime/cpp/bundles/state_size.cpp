#include "state_size.h"

#include "../errors.h"

namespace latentloop {

namespace {

constexpr int64_t kLargestLoop{int64_t{1} << 31};  // values in the state buffers of one loop; 8 GiB in float32

}  // namespace

void check_state_size(const Level& level, int64_t batch) {
  __extension__ __int128 values = 0;
  for (const StateBuffer& buffer : level.prior->buffers) {
    __extension__ __int128 size = 1;  // at most 2^28, the limit for one sample, times the batch
    for (const int64_t extent : buffer.shape) size *= extent == kBatch ? batch : extent;
    values += size;
  }
  if (values > kLargestLoop)
    throw Error(LL_INVALID_ARGUMENT, text("a batch of ", batch, " needs ", static_cast<int64_t>(values >> 28),
                                          " GiB for ", level.name, ": use a smaller one"));
}

}  // namespace latentloop
