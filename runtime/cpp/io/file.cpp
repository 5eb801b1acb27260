#include "file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

#include "bundle_error.h"

namespace latentloop {
namespace {

Error cannot_be_read(const std::string& path, int error) {
  return bundle_error(path, ": cannot be read: ", std::system_category().message(error));
}

// Whether the error says that there is nothing at a path.
bool is_absence(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

}  // namespace

Identity identity_of(const struct stat& status) {
  return {static_cast<int64_t>(status.st_dev),
          static_cast<int64_t>(status.st_ino),
          status.st_size,
          status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec,
          status.st_ctim.tv_sec,
          status.st_ctim.tv_nsec};
}

std::string path_in(const std::string& folder, const std::string& name) {
  if (folder == ".") return name;
  return folder + (folder.back() == '/' ? "" : "/") + name;
}

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

std::string absolute_path(const std::string& path) {
  if (path[0] == '/') return path;
  char folder[PATH_MAX];
  if (getcwd(folder, sizeof folder) == nullptr) {
    throw bundle_error(path, ": the working directory cannot be found; use an absolute path");
  }
  return plain_path(text(folder, "/", path));
}

std::optional<struct stat> status_of(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) == 0) return status;
  if (is_absence(errno)) return std::nullopt;
  throw cannot_be_read(path, errno);
}

std::vector<std::string> folders_in(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) throw cannot_be_read(path, errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(folder.get());
    if (entry == nullptr && errno != 0) throw cannot_be_read(path, errno);
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const auto status = status_of(path_in(path, name));
    if (status && S_ISDIR(status->st_mode)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void check_link(const std::string& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    if (is_absence(errno)) return;
    throw cannot_be_read(path, errno);
  }
  if (!S_ISLNK(status.st_mode) || status_of(path)) return;
  char target[PATH_MAX];
  const ssize_t length = readlink(path.c_str(), target, sizeof target);
  if (length < 0) throw cannot_be_read(path, errno);
  throw bundle_error(path, " is a link to ", std::string(target, static_cast<size_t>(length)),
                     ", which does not exist: copy bundles with a command that follows links, such as cp -rL");
}

// Without O_NONBLOCK, opening a pipe that replaced the file since its status was read would block.
File::File(const std::string& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) throw cannot_be_read(path, errno);
}

File::~File() { close(descriptor_); }

struct stat File::status() const {
  struct stat status;
  if (fstat(descriptor_, &status) != 0) throw cannot_be_read(path_, errno);
  return status;
}

void File::rewind() {
  if (lseek(descriptor_, 0, SEEK_SET) != 0) throw cannot_be_read(path_, errno);
}

size_t File::read(void* to, size_t most) {
  for (;;) {
    const ssize_t count = ::read(descriptor_, to, most);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) throw cannot_be_read(path_, errno);
  }
}

}  // namespace latentloop
