#include "library_path.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "../errors.h"
#include "../io/file.h"

namespace latentloop {

namespace {

bool is_folder(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<std::string> libraries_in(const std::string& folder, const std::string& name) {
  std::vector<std::string> found;
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) return found;
  while (const dirent* entry = readdir(entries)) {
    const std::string file{entry->d_name};
    if (file == name || file.rfind(name + ".", 0) == 0) found.push_back(folder + "/" + file);
  }
  closedir(entries);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void set_path(LibrarySearch& search, const char* path) {
  search.path = path == nullptr ? "" : path;
  // Not a name for the loader: the program may have another working directory when the library is loaded.
  if (search.path.find('/') != std::string::npos || is_folder(search.path)) search.path = absolute_path(search.path);
}

std::vector<std::string> candidates(const LibrarySearch& search) {
  const char* variable = secure_getenv(search.variable);
  const std::string path = !search.path.empty() ? search.path : variable == nullptr ? "" : variable;
  if (path.empty()) return search.names;
  if (!is_folder(path)) return {path};
  const auto found = libraries_in(path, search.name);
  if (found.empty()) throw Error(LL_MISSING, text(path, " has no ", search.name, ": ", search.remedy));
  return found;
}

}  // namespace latentloop
