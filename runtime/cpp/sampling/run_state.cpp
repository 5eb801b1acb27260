#include "run_state.h"

#include <thread>

#include "../errors.h"

namespace latentloop {

RunState::Running::Running(RunState& state) : state_(state) {
  uint64_t idle = state.state_.load();
  if ((idle & kRunning) != 0 || !state.state_.compare_exchange_strong(idle, idle + kRunning))
    throw Error(LL_BUSY, "this sampler is already running: make one from the same bundle for each thread");
  // A cancel() of the previous run may still be about to interrupt the backend.
  while (state.cancelling_.load() != 0 && !state.is_cancelled()) std::this_thread::yield();
  try {
    state.backend_.resume();
  } catch (...) {
    state.end();
    throw;
  }
  if (state.is_cancelled()) state.backend_.interrupt();
}

RunState::Running::~Running() { state_.end(); }

void RunState::end() {
  uint64_t state = state_.load();
  while (!state_.compare_exchange_weak(state, (state & ~(kRunning | kCancelled)) + kNext)) {
  }
}

void RunState::cancel() noexcept {
  ++cancelling_;
  uint64_t state = state_.load();
  if ((state & kRunning) != 0 && state_.compare_exchange_strong(state, state | kCancelled)) backend_.interrupt();
  --cancelling_;
}

}  // namespace latentloop
