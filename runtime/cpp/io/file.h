// Files that are read: regular ones only, because a pipe would block and a device might never end.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace latentloop {

// Device, inode, size and times of a file: writing or replacing the file changes them.
using Identity = std::array<int64_t, 7>;

Identity identity_of(const struct stat& status);

// Returns the path of a file in a folder; "." is left out.
std::string path_in(const std::string& folder, const std::string& name);

// Returns the path without "." and without needless slashes.
std::string plain_path(const std::string& path);

// Returns the path from the root of the file system, without needless parts. Throws Error.
std::string absolute_path(const std::string& path);

// Returns the status of what is at the path, after following links; nullopt if there is nothing. Throws Error.
std::optional<struct stat> status_of(const std::string& path);

// Returns the sorted names of the folders in a folder. Throws Error.
std::vector<std::string> folders_in(const std::string& path);

// Throws Error if the path is a link whose target does not exist.
void check_link(const std::string& path);

// An open file. Throws Error that names the file.
class File {
 public:
  explicit File(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  struct stat status() const;
  void rewind();  // to the first byte

  // Returns the number of bytes read, 0 at the end of the file.
  size_t read(void* to, size_t most);

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace latentloop
