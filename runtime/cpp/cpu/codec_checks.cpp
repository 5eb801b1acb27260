#include "codec_checks.h"

#include <algorithm>

#include "../errors.h"
#include "../onnxruntime/call.h"

namespace latentloop {

namespace {

struct Expected {
  std::string name;
  Type type;
  Shape shape;  // -1: any size
};

std::string described(int type, const Shape& shape) {
  const bool is_known = type == ort::kFloat || type == ort::kInt64 || type == ort::kUint8;
  std::string all{!is_known             ? "another type"
                  : type == ort::kFloat ? "float32"
                  : type == ort::kInt64 ? "int64"
                                        : "uint8"};
  const char* separator = " [";
  for (const int64_t size : shape) {
    all += text(separator, size < 0 ? "any" : std::to_string(size));
    separator = ", ";
  }
  return all + "]";
}

// A size that is dynamic on either side fits.
bool fits(const Tensor& tensor, const Expected& expected) {
  const auto same = [](int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; };
  return tensor.type == element_type(expected.type) && tensor.shape.size() == expected.shape.size() &&
         std::equal(tensor.shape.begin(), tensor.shape.end(), expected.shape.begin(), same);
}

void check(const std::string& where, const char* kind, const std::vector<Tensor>& actual,
           const std::vector<Expected>& expected) {
  const auto find = [&actual](const std::string& name) {
    return std::find_if(actual.begin(), actual.end(), [&name](const Tensor& tensor) { return tensor.name == name; });
  };
  const auto exists = [&](const Expected& each) { return find(each.name) != actual.end(); };
  if (actual.size() != expected.size() || !std::all_of(expected.begin(), expected.end(), exists)) {
    std::string ours, theirs;
    for (const Expected& each : expected) ours += (ours.empty() ? "" : ", ") + each.name;
    for (const Tensor& each : actual) theirs += (theirs.empty() ? "" : ", ") + each.name;
    throw Error(LL_BAD_BUNDLE, text(where, "'s ", kind, " are ", theirs, ", expected from the manifest ", ours,
                                    "; export the bundle again"));
  }
  for (const Expected& each : expected) {
    const Tensor& tensor = *find(each.name);
    if (!fits(tensor, each))
      throw Error(LL_BAD_BUNDLE, text(where, "'s ", each.name, " is ", described(tensor.type, tensor.shape),
                                      ", expected from the manifest ", described(element_type(each.type), each.shape),
                                      "; export the bundle again"));
  }
}

std::shared_ptr<const Session> checked(Sessions& sessions, const char* role, const std::string& file, int threads,
                                       const std::vector<Expected>& inputs, const std::vector<Expected>& outputs) {
  auto session = sessions.get(file, threads);
  const std::string where = text(session->path(), ": the ", role);
  check(where, "inputs", session->inputs(), inputs);
  check(where, "outputs", session->outputs(), outputs);
  return session;
}

Expected images_of(const Manifest& manifest) {
  return {"images", Type::uint8, {kBatch, manifest.height, manifest.width, manifest.channels}};
}

std::vector<Expected> codes_of(const Manifest& manifest) {
  std::vector<Expected> codes;
  for (const Level& level : manifest.levels)
    codes.push_back({level.name, Type::int64, {kBatch, level.height, level.width}});
  return codes;
}

}  // namespace

std::shared_ptr<const Session> checked_encoder(Sessions& sessions, int threads) {
  const Manifest& manifest = sessions.bundle().manifest();
  return checked(sessions, "encoder", manifest.encoder, threads, {images_of(manifest)}, codes_of(manifest));
}

std::shared_ptr<const Session> checked_decoder(Sessions& sessions, int threads) {
  const Manifest& manifest = sessions.bundle().manifest();
  const Expected images = images_of(manifest), decoded{"decoded", Type::float32, images.shape};
  return checked(sessions, "decoder", manifest.decoder, threads, codes_of(manifest), {images, decoded});
}

std::shared_ptr<const Session> checked_classifier(Sessions& sessions, int threads) {
  const Manifest& manifest = sessions.bundle().manifest();
  const auto classes = static_cast<int64_t>(manifest.classes.size());
  const std::vector<Expected> outputs{{"probabilities", Type::float32, {kBatch, classes}},
                                      {"features", Type::float32, {kBatch, -1}}};
  return checked(sessions, "classifier", *manifest.classifier, threads, {images_of(manifest)}, outputs);
}

}  // namespace latentloop
