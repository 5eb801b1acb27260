#include "loop_buffers.h"

#include "../draws/settings.h"

namespace latentloop {
namespace {

constexpr std::array<const char*, 3> kOthers{"codes", "upper", "labels"};  // beside the buffers that every prior has

StateBuffer filled(const char* name, Type type, Shape shape, int64_t fill) {
  return {name, type, std::move(shape), fill, false, false, 0};
}

StateBuffer indices(const char* name, int64_t size) { return {name, Type::int64, {size, 1}, 0, true, false, 0}; }

}  // namespace

// A loop that writes none of the settings draws every code, without filters, at temperature 1.
std::vector<StateBuffer> loop_buffers(const Level& level, const std::optional<std::array<int64_t, 2>>& upper,
                                      bool labels) {
  std::vector<StateBuffer> buffers{indices("row", level.height), indices("column", level.width),
                                   filled("uniform", Type::float32, {level.width, kBatch}, 0),
                                   filled("forced", Type::int64, {level.width, kBatch}, -1)};
  for (size_t i = 0; i < kSettings.size(); ++i) {
    const auto fill = static_cast<int64_t>(neutral(i, level.codebook_size));
    const Type type = kSettings[i].is_integer ? Type::int64 : Type::float32;
    buffers.push_back(filled(kSettings[i].name, type, {kBatch}, fill));
  }
  buffers.push_back(filled("logits", Type::float32, {level.width, kBatch, level.codebook_size}, 0));
  if (upper) buffers.push_back(filled("upper", Type::int64, {(*upper)[0], (*upper)[1], kBatch}, 0));
  if (labels) buffers.push_back(filled("labels", Type::int64, {kBatch}, 0));
  return buffers;
}

bool is_loop_name(const std::string& name) {
  static const std::vector<StateBuffer> kOfEveryPrior = loop_buffers(Level{"", 1, 1, 1, std::nullopt}, {}, false);
  for (const char* other : kOthers) {
    if (name == other) return true;
  }
  for (const StateBuffer& buffer : kOfEveryPrior) {
    if (name == buffer.name) return true;
  }
  return false;
}

void set_fills(Level& level) {
  if (!level.prior) return;
  for (const StateBuffer& today : loop_buffers(level, std::nullopt, false)) {
    for (StateBuffer& buffer : level.prior->buffers) {
      if (buffer.name != today.name) continue;
      buffer.fill = today.fill;
      buffer.fill_is_index = today.fill_is_index;
    }
  }
}

}  // namespace latentloop
