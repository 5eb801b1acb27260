// The error for everything that is wrong with a bundle.
#pragma once

#include "../errors.h"

namespace latentloop {

template <typename... Parts>
Error bundle_error(const Parts&... parts) {
  return Error(LL_BAD_BUNDLE, text(parts...));
}

}  // namespace latentloop
