#include <algorithm>

#include "json.h"
#include "quoting.h"

namespace latentloop {
namespace {

constexpr size_t kMostItems{10}, kMostMembers{4};
constexpr int kDeepest{6};

std::string list_text(const Json& json, int depth);

std::string array_text(const Json::Array& array, int depth) {
  if (depth == 0 && !array.empty()) return "[...]";
  std::string text = "[";
  for (size_t i = 0; i < array.size() && i <= kMostItems; ++i) {
    text += i > 0 ? ", " : "";
    text += i == kMostItems ? "..." : list_text(array[i], depth - 1);
  }
  return text + "]";
}

std::string object_text(const Json::Object& object, int depth) {
  if (object.empty()) return "{}";
  if (depth == 0) return "{...}";
  std::vector<const Json::Object::value_type*> members;
  for (const auto& member : object) members.push_back(&member);
  const size_t shown = std::min(members.size(), kMostMembers);
  std::partial_sort(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(shown), members.end(),
                    [](auto a, auto b) { return a->first < b->first; });
  std::string text = "{";
  for (size_t i = 0; i < shown; ++i) {
    text += (i > 0 ? ", " : "") + in_quotes(members[i]->first) + ": " + list_text(members[i]->second, depth - 1);
  }
  return text + (shown < members.size() ? ", ...}" : "}");
}

// Returns the text of a value with at most `depth` levels of lists and objects.
std::string list_text(const Json& json, int depth) {
  struct Visitor {
    int depth;
    std::string operator()(std::nullptr_t) const { return "None"; }
    std::string operator()(bool value) const { return value ? "True" : "False"; }
    std::string operator()(int64_t value) const { return std::to_string(value); }
    std::string operator()(const Json::LongInteger& value) const { return shortened_digits(value.digits); }
    std::string operator()(double value) const { return number_text(value); }
    std::string operator()(const std::string& value) const { return in_quotes(value); }
    std::string operator()(const Json::Array& value) const { return array_text(value, depth); }
    std::string operator()(const Json::Object& value) const { return object_text(value, depth); }
  };
  return std::visit(Visitor{depth}, json.value);
}

}  // namespace

std::string short_text(const Json& json) { return list_text(json, kDeepest); }

}  // namespace latentloop
