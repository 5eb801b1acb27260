#include "staging.h"

#include <cstring>

namespace latentloop {

namespace {

constexpr size_t kSmallest{4096};  // bytes

}  // namespace

Staging::~Staging() {
  if (!in_use_.empty()) stream_.synchronize_quietly();
}

void Staging::send(const DeviceTensor& tensor, const void* prepared) {
  stream_.driver().copy_in(tensor.pointer, prepared, tensor.bytes(), stream_.handle());
}

void Staging::copy_in(const DeviceTensor& tensor, const void* values) {
  void* prepared = buffer(tensor.bytes());
  std::memcpy(prepared, values, tensor.bytes());
  send(tensor, prepared);
}

void Staging::release() {
  for (auto& each : in_use_) {
    const size_t bytes = each->bytes();
    pool_.emplace(bytes, std::move(each));
  }
  in_use_.clear();
}

void* Staging::buffer(size_t needed) {
  size_t bytes = kSmallest;  // few sizes, so that buffers of other batch sizes are used again
  while (bytes < needed) bytes *= 2;
  const auto unused = pool_.find(bytes);
  if (unused == pool_.end()) {
    in_use_.push_back(std::make_unique<cuda::PageLocked>(stream_.driver(), bytes));
  } else {
    in_use_.push_back(std::move(unused->second));
    pool_.erase(unused);
  }
  return in_use_.back()->data();
}

const void* Staging::fetch(const DeviceTensor& tensor) {
  void* target = buffer(tensor.bytes());
  stream_.driver().copy_out(target, tensor.pointer, tensor.bytes(), stream_.handle());
  return target;
}

}  // namespace latentloop
