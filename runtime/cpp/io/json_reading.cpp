// Reading JSON. No other file uses the library that parses it.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "bundle_error.h"
#include "file.h"
#include "json.h"
#include "quoting.h"

namespace latentloop {
namespace {

constexpr size_t kLargestFile{16 << 20};  // bytes; manifests have some tens of kB
// Limits of Python's reader.
constexpr size_t kDeepest{1000};
constexpr size_t kMostDigits{4300};

constexpr int kNumberOverflow{406};  // an exception's number

Error unreadable(const std::string& source, const std::string& problem) {
  return bundle_error(source, ": not readable as JSON: ", problem);
}

bool is_integer(const std::string& number) { return number.find_first_not_of("-0123456789") == number.npos; }

// Returns the key that occurs most often, the first one of several, or null if none occurs twice.
const std::string* repeated_key(const Json::Object& object) {
  std::vector<const std::string*> keys;
  for (const auto& [key, value] : object) keys.push_back(&key);
  // Equal keys become neighbours, in the order of their positions.
  std::stable_sort(keys.begin(), keys.end(), [](auto a, auto b) { return *a < *b; });
  const std::string* repeated = nullptr;
  size_t most = 1;
  for (size_t begin = 0, end; begin < keys.size(); begin = end) {
    for (end = begin + 1; end < keys.size() && *keys[end] == *keys[begin];) ++end;
    const bool is_earlier = repeated != nullptr && end - begin == most && keys[begin] < repeated;
    if (end - begin > most || is_earlier) repeated = keys[begin], most = end - begin;
  }
  return repeated;
}

// Receives the parts of a JSON text from the parser, and makes a value of them.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(const std::string& content, const std::string& source) : content_(content), source_(source) {}

  Json result() { return std::move(result_); }

  bool null() override { return add({nullptr}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(int64_t value) override { return add({value}); }
  bool number_unsigned(uint64_t value) override {
    if (value > INT64_MAX) return add({Json::LongInteger{std::to_string(value)}});
    return add({static_cast<int64_t>(value)});
  }
  bool number_float(double value, const std::string& digits) override {
    return is_integer(digits) ? add({Json::LongInteger{digits}}) : add({value});
  }
  bool string(std::string& value) override { return add({std::move(value)}); }
  bool binary(nlohmann::json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open({Json::Object{}}); }
  bool start_array(size_t) override { return open({Json::Array{}}); }
  bool key(std::string& name) override {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_object() override {
    if (const std::string* name = repeated_key(std::get<Json::Object>(open_.back().json.value))) {
      throw bundle_error(source_, ": ", in_quotes(*name), " occurs twice in an object");
    }
    return end_array();
  }
  bool end_array() override {
    Json json = std::move(open_.back().json);
    open_.pop_back();
    return add(std::move(json));
  }

  bool parse_error(size_t position, const std::string& token, const nlohmann::json::exception& problem) override {
    const size_t at = std::min(position, content_.size()) - (position > 0 && position <= content_.size());
    if (problem.id == kNumberOverflow) {
      if (is_integer(token)) {
        if (token.size() > kMostDigits) throw unreadable(source_, text("an integer of ", token.size(), " digits"));
        throw bundle_error(where(), " is ", shortened_digits(token), ", expected at most 308 digits");
      }
      throw bundle_error(where(), token[0] == '-' ? " is -inf" : " is inf", ", expected a finite number");
    }
    if (expects_value()) {
      for (const auto& [word, name] : {std::pair{"NaN", "nan"}, {"Infinity", "inf"}}) {
        if (content_.compare(at, std::char_traits<char>::length(word), word) != 0) continue;
        const bool is_negative = at > 0 && content_[at - 1] == '-';
        throw bundle_error(where(), " is ", is_negative ? "-" : "", name, ", expected a finite number");
      }
    }
    const std::string before = content_.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t column = at - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
    const std::string reason = problem.what();
    const bool is_text = reason.find("UTF-8") == reason.npos && reason.find("surrogate") == reason.npos;
    throw unreadable(
        source_, text(is_text ? "a syntax error" : "not UTF-8", " at line ", line, ", byte ", column, " of the line"));
  }

 private:
  struct Open {
    Json json;                       // an array or an object
    std::optional<std::string> key;  // of the object's next value
  };

  bool open(Json json) {
    if (open_.size() == kDeepest) throw unreadable(source_, text("values are nested more than ", kDeepest, " deep"));
    open_.push_back({std::move(json), std::nullopt});
    return true;
  }

  bool add(Json json) {
    if (open_.empty()) {
      result_ = std::move(json);
    } else if (auto* array = std::get_if<Json::Array>(&open_.back().json.value)) {
      array->push_back(std::move(json));
    } else {
      auto& object = std::get<Json::Object>(open_.back().json.value);
      object.emplace_back(std::move(*open_.back().key), std::move(json));
      open_.back().key.reset();
    }
    return true;
  }

  bool expects_value() const {
    return open_.empty() || open_.back().key || std::holds_alternative<Json::Array>(open_.back().json.value);
  }

  // Returns the location of the next value.
  std::string where() const {
    std::string location = source_;
    for (const Open& part : open_) {
      if (const auto* array = std::get_if<Json::Array>(&part.json.value)) {
        location += text("[", array->size(), "]");
      } else if (part.key) {
        location += "." + *part.key;
      }
    }
    return location;
  }

  const std::string& content_;
  const std::string& source_;
  std::vector<Open> open_;
  Json result_{nullptr};
};

}  // namespace

Json read_json(const std::string& path, const std::string& missing) {
  const auto status = status_of(path);
  if (!status) throw bundle_error(missing);
  if (!S_ISREG(status->st_mode)) throw bundle_error(path, ": not a file");
  const auto larger = [&path] { return bundle_error(path, ": larger than ", kLargestFile, " bytes, not a manifest"); };
  if (static_cast<size_t>(status->st_size) > kLargestFile) throw larger();
  File file(path);
  if (!S_ISREG(file.status().st_mode)) throw bundle_error(path, ": not a file");
  std::string content(static_cast<size_t>(status->st_size) + 1, '\0');
  size_t size = 0;
  while (const size_t count = file.read(&content[size], content.size() - size)) {
    size += count;
    if (size > kLargestFile) throw larger();
    if (size == content.size()) content.resize(2 * size);  // the file has grown
  }
  content.resize(size);
  return parse_json(content, path);
}

Json parse_json(const std::string& content, const std::string& source) {
  // The parser skips a byte order mark, and ends at a zero byte.
  if (content.compare(0, 3, "\xEF\xBB\xBF") == 0) throw unreadable(source, "it begins with a byte order mark");
  if (const size_t at = content.find('\0'); at != content.npos) throw unreadable(source, text("a zero at byte ", at));
  Builder builder(content, source);
  if (!nlohmann::json::sax_parse(content.data(), content.data() + content.size(), &builder)) {
    throw unreadable(source, "a syntax error");
  }
  return builder.result();
}

}  // namespace latentloop
