#include "codec.h"

#include <algorithm>
#include <cstring>

namespace latentloop {

void CodecRun::wait() {
  end_->synchronize();
  for (const Output& output : outputs_) std::memcpy(output.to, output.from, output.bytes);
  staging_.release();
}

std::unique_ptr<CodecRun> DeviceCodec::run(int64_t n, const std::vector<CodecArray>& inputs,
                                           const std::vector<CodecArray>& outputs, cuda::StreamHandle callers) {
  const auto on_gpu = [](const CodecArray& array) { return array.is_on_gpu; };
  const bool has_callers =
      std::any_of(inputs.begin(), inputs.end(), on_gpu) || std::any_of(outputs.begin(), outputs.end(), on_gpu);
  const Prepared& prepared = prepare(n);
  if (has_callers) cuda::Event(stream_.driver(), callers).delay(stream_.handle());
  try {
    auto run = enqueue(prepared, inputs, outputs);
    run->end_ = std::make_unique<cuda::Event>(stream_.driver(), stream_.handle());
    if (has_callers) run->end_->delay(callers);
    return run;
  } catch (...) {
    stream_.synchronize_quietly();  // what is enqueued already uses arrays of the caller's
    throw;
  }
}

std::unique_ptr<CodecRun> DeviceCodec::enqueue(const Prepared& prepared, const std::vector<CodecArray>& inputs,
                                               const std::vector<CodecArray>& outputs) {
  const cuda::Driver& driver = stream_.driver();
  auto run = std::make_unique<CodecRun>(stream_, pool_);
  std::map<std::string, DeviceTensor> tensors = prepared.tensors;
  // Returns the part of the own tensor for the samples of an array.
  const auto part = [&prepared](const CodecArray& array) {
    DeviceTensor tensor = prepared.tensors.at(array.name);
    tensor.shape[0] = array.count;
    return tensor;
  };
  for (const CodecArray& input : inputs) {
    const DeviceTensor own = part(input);
    if (!input.is_on_gpu) {
      run->staging_.copy_in(own, input.memory);
      continue;
    }
    const DeviceTensor theirs{reinterpret_cast<cuda::Pointer>(input.memory), own.type, own.shape};
    if (theirs.is_aligned()) {
      tensors[input.name] = theirs;
    } else {
      driver.copy(own.pointer, theirs.pointer, own.bytes(), stream_.handle());
    }
  }
  std::vector<std::pair<DeviceTensor, DeviceTensor>> copies;  // target, source
  for (const CodecArray& output : outputs) {
    if (!output.is_on_gpu) continue;
    const DeviceTensor own = part(output);
    const DeviceTensor theirs{reinterpret_cast<cuda::Pointer>(output.memory), own.type, own.shape};
    if (theirs.is_aligned() && output.count == prepared.batch) {
      tensors[output.name] = theirs;
    } else {
      copies.emplace_back(theirs, own);
    }
  }
  prepared.graph->enqueue(tensors, stream_.handle());
  for (const auto& [target, source] : copies)
    driver.copy(target.pointer, source.pointer, target.bytes(), stream_.handle());
  for (const CodecArray& output : outputs) {
    if (output.is_on_gpu) continue;
    const DeviceTensor own = part(output);
    run->outputs_.push_back({output.memory, run->staging_.copy_out<void>(own), own.bytes()});
  }
  return run;
}

const DeviceCodec::Prepared& DeviceCodec::prepare(int64_t n) {
  const auto fits = [n](const std::unique_ptr<Prepared>& each) { return each->batch == n; };
  const auto found = std::find_if(prepared_.begin(), prepared_.end(), fits);
  if (found != prepared_.end()) {
    std::rotate(prepared_.begin(), found, found + 1);
    return *prepared_.front();
  }
  if (prepared_.size() == 2) {
    stream_.synchronize();  // a graph must not be destroyed while it runs
    prepared_.pop_back();   // before more memory is needed
  }
  auto made = std::make_unique<Prepared>(Prepared{n, {stream_.driver(), stream_.handle()}, {}, {}});
  for (const auto* tensors : {&description_.inputs, &description_.outputs})
    for (const CodecTensor& tensor : *tensors)
      made->tensors[tensor.name] = made->memory.allocate(tensor.type, shape_for_batch(tensor.shape, n));
  made->graph = graphs_.load(description_.file, n, stream_.handle());
  prepared_.insert(prepared_.begin(), std::move(made));
  return *prepared_.front();
}

}  // namespace latentloop
