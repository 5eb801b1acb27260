#include "texts.h"

#include "../bundles/prior_checks.h"
#include "../errors.h"
#include "../io/json.h"
#include "../io/quoting.h"

namespace latentloop {
namespace {

constexpr size_t kMostSizes{10};  // of a shape

std::string text_of(bool value) { return value ? "True" : "False"; }

std::string text_of(const Shape& shape) {
  std::string sizes;
  for (size_t i = 0; i < shape.size() && i <= kMostSizes; ++i) {
    const int64_t size = shape[i];
    sizes += i > 0 ? ", " : "";
    sizes += i == kMostSizes ? "..." : size == kBatch ? "'batch'" : size == kOtherName ? "'...'" : text(size);
  }
  return text("(", sizes, shape.size() == 1 ? ",)" : ")");
}

std::string text_of(const std::string& value) { return in_quotes(value); }

template <typename Value>
std::string text_of(const std::optional<Value>& value) {
  return value ? text_of(*value) : "None";
}

}  // namespace

std::string names_text(const std::vector<std::string>& names) {
  Json::Array list;
  for (const std::string& name : names) list.push_back({name});
  return short_text({list});
}

std::string level_text(const Level& level) {
  std::string of_prior = "None";
  if (const auto& prior = level.prior) {
    of_prior =
        text("(", text_of(prior->condition_level), ", ", text_of(prior->classes), ", ", prior->columns_per_step, ")");
  }
  return text("(", in_quotes(level.name), ", ", level.height, ", ", level.width, ", ", level.codebook_size, ", ",
              of_prior, ")");
}

std::string state_buffer_text(const StateBuffer& buffer) {
  return text("StateBuffer(name=", in_quotes(buffer.name), ", dtype='", kTypeNames[static_cast<size_t>(buffer.type)],
              "', shape=", text_of(buffer.shape), ", fill=", fill_text(buffer), ", ring=", text_of(buffer.ring),
              ", padding=", buffer.padding, ")");
}

std::string binding_text(const Binding& binding) {
  return text("Binding(name=", in_quotes(binding.name), ", memory=", in_quotes(binding.memory), ", view='",
              kViewNames[static_cast<size_t>(binding.view)], "', back=", binding.back, ", first=", binding.first,
              ", count=", binding.count, ", dtype=", text_of(binding.dtype), ", shape=", text_of(binding.shape), ")");
}

}  // namespace latentloop
