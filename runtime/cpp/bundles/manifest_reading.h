// Reading the manifest: from untrusted JSON to the structs of manifest.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../io/json.h"
#include "../io/json_fields.h"
#include "manifest.h"

namespace latentloop {

// Returns the checked manifest of one of the versions 3 to 6. Throws Error (LL_BAD_BUNDLE) that names the file
// (`source`) and the field.
Manifest read_manifest(const Json& json, const std::string& source);

// The parts that a manifest of a set of engines has, too. Each throws Error (LL_BAD_BUNDLE).

// Returns the version of a file with this `format`. `remedy` ends the message if it is not from `oldest` to `newest`.
int64_t read_version(const Field& manifest, const std::string& format, int64_t oldest, int64_t newest,
                     const std::string& remedy);

// Returns a shape of integers, and of names as kBatch and kOtherName.
Shape read_any_shape(const Field& field);

// Returns the height, width and number of channels.
Shape read_image(const Field& field);

// Returns the levels, without checks of their priors. State buffers have the first few of kTypeNames as `types`.
std::vector<Level> read_levels(const Field& field, const std::vector<std::string>& types);

std::map<std::string, FileRecord> read_files(const Field& field);

}  // namespace latentloop
