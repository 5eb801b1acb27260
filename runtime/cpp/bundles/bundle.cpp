#include "bundle.h"

#include <limits.h>
#include <unistd.h>

#include "../io/bundle_error.h"
#include "../io/file.h"
#include "../io/integrity.h"
#include "../io/json.h"
#include "manifest_reading.h"

namespace latentloop {
namespace {

constexpr const char* kManifest{"manifest.json"};

// Returns the path without "." and without needless slashes.
std::string plain_path(const std::string& path) {
  std::string plain = path.substr(0, path.compare(0, 1, "/") == 0);
  for (size_t begin = 0, end; begin < path.size(); begin = end + 1) {
    end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    if (name.empty() || name == ".") continue;
    if (!plain.empty() && plain.back() != '/') plain += '/';
    plain += name;
  }
  return plain.empty() ? "." : plain;
}

std::string absolute(const std::string& path) {
  if (path[0] == '/') return path;
  char folder[PATH_MAX];
  if (getcwd(folder, sizeof folder) == nullptr) {
    throw bundle_error(path, ": the working directory cannot be found; open the bundle by its absolute path");
  }
  return plain_path(text(folder, "/", path));
}

}  // namespace

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
  folder_ = absolute(path);  // files are loaded later, perhaps in another working directory
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
