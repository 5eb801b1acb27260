// Values in messages, written as Python's reprlib writes them.
#pragma once

#include <string>
#include <string_view>

namespace latentloop {

// Returns a UTF-8 text in quotes, with escapes for what a terminal would not show, and without its middle if it is
// longer than 60 characters.
std::string in_quotes(std::string_view text);

std::string first_characters(std::string_view text, size_t count);

// Returns the shortest decimal number that is read as this one, like Python: 1.5, 1e+16.
std::string number_text(double value);

// Returns the number with six significant digits, as printf("%g") in the locale "C".
std::string rounded_text(double value);

// Returns a number of many digits without those in its middle.
std::string shortened_digits(const std::string& digits);

}  // namespace latentloop
