// Opening and verifying a bundle.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../io/file.h"
#include "manifest.h"

namespace latentloop {

// Threads may share a bundle.
class Bundle {
 public:
  // Verifies the manifest and the size and SHA-256 of every file. Throws Error (LL_BAD_BUNDLE) that names the file and
  // the field.
  explicit Bundle(const std::string& folder);

  const Manifest& manifest() const { return manifest_; }
  const std::string& folder() const { return folder_; }  // absolute
  std::string path(const std::string& file) const { return path_in(folder_, file); }

  // Throws Error if one of these files has changed since it was verified. Call it before and after reading them.
  void check_unchanged(const std::vector<std::string>& files) const;

 private:
  std::string folder_;
  Manifest manifest_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Identity> identities_;  // by file
};

}  // namespace latentloop
