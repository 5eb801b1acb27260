#define OPENSSL_SUPPRESS_DEPRECATED  // the low-level functions link less of the library
#include "integrity.h"

#include <openssl/sha.h>

#include <array>
#include <vector>

#include "bundle_error.h"
#include "quoting.h"

namespace latentloop {
namespace {

constexpr size_t kBlock{1 << 18};   // bytes read at once
constexpr size_t kShownDigits{12};  // of a digest in a message

// Returns the SHA-256 of the rest of a file, in hexadecimal.
std::string digest_of(File& file) {
  SHA256_CTX context;
  SHA256_Init(&context);
  std::vector<unsigned char> block(kBlock);
  while (const size_t count = file.read(block.data(), block.size())) SHA256_Update(&context, block.data(), count);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256_Final(digest.data(), &context);
  std::string digits;
  for (const unsigned char byte : digest) digits += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return digits;
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

}  // namespace latentloop
