#include "quoting.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace latentloop {
namespace {

constexpr size_t kMostCharacters{60};
constexpr size_t kHead{28}, kTail{29};  // what is left of a longer text
constexpr size_t kMostDigits{40};

// Returns the characters of a UTF-8 text. In a text that is not UTF-8, bytes are characters.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    for (end = begin + 1; end < text.size() && end < begin + 4 && (text[end] & 0xC0) == 0x80;) ++end;
    parts.push_back(text.substr(begin, end - begin));
  }
  return parts;
}

std::string joined(const std::vector<std::string_view>& parts, size_t begin, size_t end) {
  std::string text;
  for (size_t i = begin; i < std::min(end, parts.size()); ++i) text += parts[i];
  return text;
}

uint32_t code_point(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  uint32_t code = character.size() == 1 ? lead : lead & (0x7F >> character.size());
  for (const char byte : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(byte) & 0x3F);
  return code;
}

// Whether a terminal shows the character: no control, format, separator, private or surrogate character.
bool is_printable(uint32_t code) {
  static constexpr std::array<std::array<uint32_t, 2>, 14> kHidden{{{0x00, 0x1F},
                                                                    {0x7F, 0xA0},
                                                                    {0xAD, 0xAD},
                                                                    {0x0600, 0x0605},
                                                                    {0x061C, 0x061C},
                                                                    {0x1680, 0x1680},
                                                                    {0x180E, 0x180E},
                                                                    {0x2000, 0x200F},
                                                                    {0x2028, 0x202F},
                                                                    {0x205F, 0x206F},
                                                                    {0x3000, 0x3000},
                                                                    {0xD800, 0xF8FF},
                                                                    {0xFEFF, 0xFEFF},
                                                                    {0xFFF0, 0xFFFB}}};
  if (code >= 0xE0000 || (code & 0xFFFE) == 0xFFFE) return false;
  return std::none_of(kHidden.begin(), kHidden.end(),
                      [code](const auto& range) { return range[0] <= code && code <= range[1]; });
}

std::string escaped(uint32_t code) {
  const int digits = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
  std::string text{digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U"};
  for (int digit = digits - 1; digit >= 0; --digit) text += "0123456789abcdef"[code >> 4 * digit & 15];
  return text;
}

std::string all_quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string result{quote};
  for (const std::string_view character : characters(text)) {
    const char first = character[0];
    if (first == quote || first == '\\') {
      result += {'\\', first};
    } else if (first == '\n' || first == '\r' || first == '\t') {
      result += {'\\', first == '\n' ? 'n' : first == '\r' ? 'r' : 't'};
    } else if (const uint32_t code = code_point(character); is_printable(code)) {
      result += character;
    } else {
      result += escaped(code);
    }
  }
  return result += quote;
}

}  // namespace

std::string in_quotes(std::string_view text) {
  // A character has at most 4 bytes, so that the middle of a long text need not be looked at.
  const auto head = characters(text.substr(0, 4 * (kMostCharacters + 1)));
  const std::string whole = all_quoted(joined(head, 0, kMostCharacters));
  if (characters(whole).size() <= kMostCharacters) return whole;
  const auto tail = characters(text.substr(text.size() - std::min(text.size(), 4 * (kTail + 1))));
  const size_t begin = tail.size() - std::min(tail.size(), kTail);
  const std::string ends = all_quoted(joined(head, 0, kHead) + joined(tail, begin, tail.size()));
  const auto parts = characters(ends);
  return joined(parts, 0, kHead) + "..." + joined(parts, parts.size() - kTail, parts.size());
}

std::string first_characters(std::string_view text, size_t count) {
  return joined(characters(text.substr(0, 4 * (count + 1))), 0, count);
}

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);  // such as -1.25e+03
  const size_t exponent_at = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + exponent_at + 1);
  if (exponent < -4 || exponent >= 16) return scientific;
  std::string digits = scientific.substr(0, exponent_at);
  const std::string sign = digits[0] == '-' ? "-" : "";
  digits.erase(std::remove_if(digits.begin(), digits.end(), [](char c) { return c == '-' || c == '.'; }), digits.end());
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) digits.append(whole + 1 - digits.size(), '0');
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string rounded_text(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, 6).ptr};
}

std::string shortened_digits(const std::string& digits) {
  if (digits.size() <= kMostDigits) return digits;
  return digits.substr(0, 18) + "..." + digits.substr(digits.size() - 19);
}

}  // namespace latentloop
