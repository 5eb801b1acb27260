#include "state_buffers.h"

#include <algorithm>

namespace latentloop {

DeviceStateBuffers::DeviceStateBuffers(const Prior& prior, int64_t batch, Staging& staging)
    : prior_(prior),
      batch_(batch),
      stream_(staging.stream()),
      memory_(staging.stream().driver(), staging.stream().handle()) {
  for (size_t index = 0; index < prior.buffers.size(); ++index) {
    const StateBuffer& buffer = prior.buffers[index];
    const DeviceTensor tensor = allocate(buffer.type, shape_for_batch(buffer.shape, batch));
    tensors_.push_back(tensor);
    if (buffer.fill == 0 && !buffer.fill_is_index) {
      stream_.driver().fill(tensor.pointer, 0, tensor.bytes(), stream_.handle());
      continue;
    }
    void* values = staging.prepare<void>(tensor);
    write_initial_values(buffer, batch, values);
    staging.send(tensor, values);
    if (!buffer.ring) continue;
    const DeviceTensor kept = allocate(tensor.type, tensor.shape);
    copy(kept, tensor);
    fills_.emplace(index, kept);
  }
}

const DeviceTensor* DeviceStateBuffers::find(const std::string& name) const {
  const auto named = [&name](const StateBuffer& buffer) { return buffer.name == name; };
  const auto found = std::find_if(prior_.buffers.begin(), prior_.buffers.end(), named);
  return found == prior_.buffers.end() ? nullptr : &tensors_[static_cast<size_t>(found - prior_.buffers.begin())];
}

DeviceTensor DeviceStateBuffers::view(const Binding& binding, int64_t i, int64_t j) const {
  const Extent view = extent(binding, prior_.buffers[binding.buffer], batch_, i, j);
  return tensors_[binding.buffer].view(view.offset, view.shape);
}

void DeviceStateBuffers::clear_rings() const {
  for (size_t index = 0; index < tensors_.size(); ++index) {
    if (!prior_.buffers[index].ring) continue;
    const DeviceTensor& tensor = tensors_[index];
    if (const auto kept = fills_.find(index); kept != fills_.end()) {
      copy(tensor, kept->second);
    } else {
      stream_.driver().fill(tensor.pointer, 0, tensor.bytes(), stream_.handle());
    }
  }
}

void DeviceStateBuffers::copy(const DeviceTensor& target, const DeviceTensor& source) const {
  stream_.driver().copy(target.pointer, source.pointer, target.bytes(), stream_.handle());
}

}  // namespace latentloop
