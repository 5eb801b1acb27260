#include "json_fields.h"

#include <algorithm>

#include "bundle_error.h"
#include "quoting.h"

namespace latentloop {

Field Field::operator[](std::string_view name) const& {
  for (const auto& [key, value] : object()) {
    if (key == name) return {&value, this, name, std::nullopt};
  }
  return {nullptr, this, name, std::nullopt};
}

Field Field::operator[](size_t index) const& { return {&list()[index], this, "", index}; }

std::string Field::where() const {
  if (parent_ == nullptr) return std::string(name_);
  return index_ ? text(parent_->where(), "[", *index_, "]") : text(parent_->where(), ".", name_);
}

bool Field::is_absent() const { return value_ == nullptr || std::holds_alternative<std::nullptr_t>(value_->value); }

template <typename T>
const T& Field::as(const char* expected) const {
  const T* value = value_ == nullptr ? nullptr : std::get_if<T>(&value_->value);
  if (value == nullptr) fail(expected);
  return *value;
}

int64_t Field::integer(int64_t low, int64_t high) const {
  const int64_t* value = value_ == nullptr ? nullptr : std::get_if<int64_t>(&value_->value);
  if (value == nullptr || *value < low || *value > high) fail(text("an integer from ", low, " to ", high));
  return *value;
}

std::optional<int64_t> Field::integer_or(const std::string& word, int64_t low, int64_t high) const {
  const Json none{nullptr};
  const auto& value = (value_ == nullptr ? none : *value_).value;
  if (const auto* name = std::get_if<std::string>(&value); name != nullptr && *name == word) return std::nullopt;
  const int64_t* number = std::get_if<int64_t>(&value);
  if (number == nullptr || *number < low || *number > high) {
    fail(text(in_quotes(word), " or an integer from ", low, " to ", high));
  }
  return *number;
}

const std::string& Field::string() const { return as<std::string>("a string"); }
bool Field::boolean() const { return as<bool>("true or false"); }
const Json::Array& Field::list() const { return as<Json::Array>("a list"); }
const Json::Object& Field::object() const { return as<Json::Object>("an object"); }

size_t Field::choice(const std::vector<std::string>& choices) const {
  const auto* value = value_ == nullptr ? nullptr : std::get_if<std::string>(&value_->value);
  const auto found = value == nullptr ? choices.end() : std::find(choices.begin(), choices.end(), *value);
  if (found == choices.end()) {
    std::string expected = "one of ";
    for (const std::string& choice : choices) expected += (&choice == &choices[0] ? "" : ", ") + choice;
    fail(expected);
  }
  return static_cast<size_t>(found - choices.begin());
}

std::vector<std::string> Field::strings() const {
  std::vector<std::string> values;
  for (const Json& item : list()) {
    const auto* value = std::get_if<std::string>(&item.value);
    if (value == nullptr) fail("a list of strings");
    values.push_back(*value);
  }
  return values;
}

const Json::Array& Field::shape() const {
  for (const Json& item : list()) {
    const bool is_long = std::holds_alternative<Json::LongInteger>(item.value);
    const int64_t* size = std::get_if<int64_t>(&item.value);
    if (size == nullptr && !is_long && !std::holds_alternative<std::string>(item.value)) {
      fail("a list of positive integers and names");
    }
    if (is_long || (size != nullptr && (*size < 1 || *size > kLargest))) {
      fail(text("sizes from 1 to ", kLargest));
    }
  }
  return list();
}

void Field::fail(const std::string& expected) const {
  if (value_ == nullptr) throw bundle_error(where(), " is missing");
  throw bundle_error(where(), " is ", short_text(*value_), ", expected ", expected);
}

}  // namespace latentloop
