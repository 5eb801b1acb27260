// Typed access to the fields of untrusted JSON. An error names the file, the field, its value and what was expected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"

namespace latentloop {

constexpr int64_t kLargest{int64_t{1} << 53};  // limit of integers: exact in every JSON reader, far below overflow

// A value and its location, such as manifest.json.levels[0].prior. A field refers to its name and to the field that
// contains it, so that locations are only written for messages. Both must outlive it.
class Field {
 public:
  Field(const Json& value, std::string_view source) : value_(&value), name_(source) {}

  // Returns a field of an object by name; it may be missing.
  Field operator[](std::string_view name) const&;
  Field operator[](std::string_view name) const&& = delete;

  // Returns a field that is there.
  Field operator[](const Json::Object::value_type& member) const& {
    return {&member.second, this, member.first, std::nullopt};
  }
  Field operator[](const Json::Object::value_type& member) const&& = delete;

  // Returns an element of a list.
  Field operator[](size_t index) const&;
  Field operator[](size_t index) const&& = delete;

  std::string where() const;
  bool is_missing() const { return value_ == nullptr; }
  bool is_absent() const;  // missing or null

  // Each throws Error (LL_BAD_BUNDLE) if the value is missing or not what its name says.
  int64_t integer(int64_t low = 0, int64_t high = kLargest) const;
  const std::string& string() const;
  bool boolean() const;
  size_t choice(const std::vector<std::string>& choices) const;  // returns the index
  const Json::Array& list() const;
  const Json::Object& object() const;
  std::vector<std::string> strings() const;
  const Json::Array& shape() const;  // positive integers, and names of dynamic sizes
  std::optional<int64_t> integer_or(const std::string& word, int64_t low, int64_t high) const;  // nullopt: the word

  [[noreturn]] void fail(const std::string& expected) const;

 private:
  Field(const Json* value, const Field* parent, std::string_view name, std::optional<size_t> index)
      : value_(value), parent_(parent), name_(name), index_(index) {}

  template <typename T>
  const T& as(const char* expected) const;

  const Json* value_;  // null: missing
  const Field* parent_{nullptr};
  std::string_view name_;
  std::optional<size_t> index_;  // of an element of a list, which has no name
};

}  // namespace latentloop
