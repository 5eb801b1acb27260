#include "plan.h"

#include <openssl/sha.h>

#include <nlohmann/json.hpp>

namespace fake_tensorrt {

namespace {

constexpr const char* kMagic{"a plan of the simulated TensorRT\n"};

std::string sha256(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string out;
  for (const unsigned char byte : digest) {
    out += "0123456789abcdef"[byte / 16];
    out += "0123456789abcdef"[byte % 16];
  }
  return out;
}

}  // namespace

std::optional<Plan> read_plan(const void* data, size_t size) {
  const std::string bytes{static_cast<const char*>(data), size}, magic{kMagic};
  if (bytes.compare(0, magic.size(), magic) != 0) return std::nullopt;
  const size_t end = bytes.find('\n', magic.size());
  if (end == std::string::npos) return std::nullopt;
  try {
    const auto fields = nlohmann::json::parse(bytes.substr(magic.size(), end - magic.size()));
    Plan plan;
    fields.at("library").get_to(plan.library);
    fields.at("version").get_to(plan.version);
    fields.at("name").get_to(plan.name);
    fields.at("architectures").get_to(plan.architectures);
    for (const auto& profile : fields.at("profiles")) {
      auto& shapes = plan.profiles.emplace_back();
      for (const auto& [input, sizes] : profile.items()) sizes.get_to(shapes[input]);
    }
    fields.at("model").get_to(plan.digest);
    plan.model = bytes.substr(end + 1);
    if (plan.digest == sha256(plan.model)) return plan;
  } catch (const nlohmann::json::exception&) {
  }
  return std::nullopt;
}

}  // namespace fake_tensorrt
