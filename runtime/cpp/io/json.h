// Untrusted JSON as values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace latentloop {

struct Json {
  // An integer of more than 64 bits.
  struct LongInteger {
    std::string digits;
  };
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the file; no key occurs twice

  std::variant<std::nullptr_t, bool, int64_t, LongInteger, double, std::string, Array, Object> value;
};

// Returns the JSON value in a file. Throws Error (LL_BAD_BUNDLE), for a missing file with the text `missing`.
Json read_json(const std::string& path, const std::string& missing);

// Returns the value of a JSON text in UTF-8. Throws Error (LL_BAD_BUNDLE), also for numbers that are not finite and for
// objects in which a key occurs twice. `source` is the name of the file. Values are nested at most 1000 deep, so that
// functions may call themselves for the parts of a value.
Json parse_json(const std::string& content, const std::string& source);

// Returns the value as Python would show it, shortened for a message.
std::string short_text(const Json& json);

}  // namespace latentloop
