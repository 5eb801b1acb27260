#define OPENSSL_SUPPRESS_DEPRECATED  // the low-level functions link less of the library
#include "integrity.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <vector>

#include "bundle_error.h"
#include "quoting.h"

namespace latentloop {
namespace {

constexpr size_t kBlock{1 << 18};   // bytes read at once
constexpr size_t kShownDigits{12};  // of a digest in a message

// The SHA-256 of some bytes.
class Digest {
 public:
  Digest() { SHA256_Init(&context_); }

  void add(const void* bytes, size_t count) { SHA256_Update(&context_, bytes, count); }

  // Returns it in hexadecimal; nothing can be added afterwards.
  std::string digits() {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
    SHA256_Final(digest.data(), &context_);
    std::string text;
    for (const unsigned char byte : digest) text += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
    return text;
  }

 private:
  SHA256_CTX context_;
};

// Returns the SHA-256 of the rest of a file.
std::string digest_of(File& file) {
  Digest digest;
  std::vector<unsigned char> block(kBlock);
  while (const size_t count = file.read(block.data(), block.size())) digest.add(block.data(), count);
  return digest.digits();
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string("/\\\0", 3)) == name.npos;
}

}  // namespace

Identity verify_file(const std::string& folder, const std::string& name, int64_t size, const std::string& sha256,
                     const std::string& source) {
  if (!is_plain_name(name)) {
    throw bundle_error(source, ": files[", in_quotes(name),
                       "] is not a plain file name: it could lead out of the bundle");
  }
  const std::string path = path_in(folder, name);
  check_link(path);
  const auto status = status_of(path);
  if (!status) throw bundle_error(path, " is missing; ", source, " lists it");
  if (!S_ISREG(status->st_mode)) throw bundle_error(path, " is not a file; ", source, " lists it");
  if (status->st_size != size) {
    throw bundle_error(path, " has ", status->st_size, " bytes, ", source, " says ", size,
                       ": copy or export the bundle again");
  }
  File file(path);
  if (!S_ISREG(file.status().st_mode)) throw bundle_error(path, " is not a file; ", source, " lists it");
  const Identity identity = identity_of(file.status());
  const std::string digest = digest_of(file);
  if (digest != sha256) {
    throw bundle_error(path, " has SHA-256 ", first_characters(digest, kShownDigits), "…, ", source, " says ",
                       first_characters(sha256, kShownDigits),
                       "…: corrupt or tampered with; copy or export the bundle again");
  }
  return identity;
}

std::vector<char> read_verified(File& file, int64_t size, const std::string& sha256) {
  file.rewind();
  const struct stat status = file.status();
  const auto differs = [&file] { return bundle_error(file.path(), " is not the file that was verified"); };
  if (!S_ISREG(status.st_mode) || status.st_size != size) throw differs();
  std::vector<char> content(static_cast<size_t>(size));
  Digest digest;
  for (size_t at = 0; at < content.size();) {
    const size_t count = file.read(&content[at], std::min(content.size() - at, kBlock));
    if (count == 0) throw differs();
    digest.add(&content[at], count);
    at += count;
  }
  char more;
  if (file.read(&more, 1) > 0 || digest.digits() != sha256) throw differs();
  return content;
}

}  // namespace latentloop
