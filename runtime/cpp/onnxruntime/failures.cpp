#include "failures.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <new>

#include "../errors.h"

namespace latentloop {

namespace {

bool is_out_of_memory(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::array<const char*, 6> kTexts{"failed to allocate", "bad_alloc",       "bad allocation",
                                              "out of memory",      "cannot allocate", "pthread_create failed"};
  return std::any_of(kTexts.begin(), kTexts.end(), [&](const char* part) { return text.find(part) != text.npos; });
}

}  // namespace

void rethrow_as_bundle_error(const std::string& what) {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    if (is_out_of_memory(error.what()))
      throw Error(LL_OUT_OF_MEMORY, text("out of memory: use a smaller batch, fewer images at once, or fewer threads (",
                                         error.what(), ")"));
    throw Error(LL_BAD_BUNDLE, text(what, ": ", error.what()));
  }
}

}  // namespace latentloop
