#include "bundle.h"

#include "../io/bundle_error.h"
#include "../io/file.h"
#include "../io/file_names.h"
#include "../io/integrity.h"
#include "../io/json.h"
#include "manifest_reading.h"

namespace latentloop {
Bundle::Bundle(const std::string& folder) {
  const std::string path = plain_path(folder), source = path_in(path, kManifest);
  check_link(path);
  const auto status = status_of(path);
  if (!status || !S_ISDIR(status->st_mode)) {
    throw bundle_error(path, status ? ": not a directory" : ": no such directory",
                       "; a bundle is the directory that `latentloop export` writes");
  }
  check_link(source);
  const Json json = read_json(source, source + " is missing: a bundle is a directory that `latentloop export` writes");
  manifest_ = read_manifest(json, source);
  for (const auto& [name, record] : manifest_.files) {
    identities_[name] = verify_file(path, name, record.size, record.sha256, source);
  }
  folder_ = absolute_path(path);  // files are loaded later, perhaps in another working directory
}

void Bundle::check_unchanged(const std::vector<std::string>& files) const {
  for (const std::string& name : files) {
    try {
      const auto status = status_of(path(name));
      const std::lock_guard<std::mutex> lock(mutex_);
      Identity& identity = identities_.at(name);
      if (status && identity_of(*status) == identity) continue;
      // If it was only touched, copied or linked again, its content is still the same.
      const FileRecord& record = manifest_.files.at(name);
      identity = verify_file(folder_, name, record.size, record.sha256, path(kManifest));
    } catch (const Error&) {
      throw bundle_error(path(name), " has changed since the bundle was opened: open the bundle again");
    }
  }
}

}  // namespace latentloop
