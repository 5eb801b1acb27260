#include "finding.h"

#include <algorithm>
#include <optional>

#include "../io/bundle_error.h"
#include "../io/file.h"
#include "../io/file_names.h"
#include "../io/integrity.h"
#include "../io/quoting.h"
#include "engine_set_checks.h"
#include "engine_set_reading.h"

namespace latentloop {
namespace {

void check_precision(const Manifest& manifest, const std::string& folder, const std::string& precision) {
  if (std::find(kEnginePrecisions.begin(), kEnginePrecisions.end(), precision) == kEnginePrecisions.end()) {
    throw Error(LL_INVALID_ARGUMENT,
                text("precision is ", in_quotes(precision), ", expected one of ", joined(kEnginePrecisions)));
  }
  const auto& precisions = manifest.precisions;
  if (std::find(precisions.begin(), precisions.end(), graph_precision(precision)) == precisions.end()) {
    throw Error(LL_MISSING,
                text(folder, " has no graphs of the precision ", precision, ": it has ", joined(precisions)));
  }
}

bool is_word(const std::string& text) {
  return !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == text.npos;
}

// Returns what the name of a set's folder says, ARCHITECTURE_FLAVOUR-LIBRARY_PRECISION, or nothing for other folders.
std::optional<EngineRequest> parsed(const std::string& name) {
  const size_t flavour_at = name.find('_') + 1;  // npos + 1 is 0
  for (const std::string flavour : kFlavours) {
    if (flavour_at == 0 || name.compare(flavour_at, flavour.size() + 1, flavour + "-") != 0) continue;
    const size_t library_at = flavour_at + flavour.size() + 1, end = name.find('_', library_at);
    if (end == name.npos || end == library_at) continue;
    const std::string architecture = name.substr(0, flavour_at - 1), precision = name.substr(end + 1);
    if (!is_word(architecture) || !is_word(precision)) continue;
    return EngineRequest{flavour, name.substr(library_at, end - library_at), architecture, precision};
  }
  return std::nullopt;
}

// Returns the name of a set's folder.
std::string folder_name(const EngineRequest& request) {
  return text(request.architecture, "_", request.flavour, "-", request.library, "_", request.precision);
}

// Whether the version that TensorRT's Python module has can be that of a library with four numbers.
bool is_release_of(const std::string& version, const std::string& library) {
  return version == library || version.compare(0, library.size() + 1, library + ".") == 0;
}

// Returns the differences between a set and the requested one as text; it is empty if there are none.
std::string mismatch(const EngineRequest& actual, const EngineRequest& request) {
  std::vector<std::string> differences;
  if (actual.architecture != request.architecture) {
    differences.push_back(text("for ", actual.architecture, ", not for ", request.architecture));
  }
  if (actual.flavour != request.flavour || actual.library != request.library) {
    differences.push_back(
        text("built by ", actual.flavour, " ", actual.library, ", not by ", request.flavour, " ", request.library));
  }
  if (actual.precision != request.precision) {
    differences.push_back(text("of the precision ", actual.precision, ", not ", request.precision));
  }
  return joined(differences);
}

int differing_fields(const EngineRequest& a, const EngineRequest& b) {
  return (a.flavour != b.flavour) + (a.library != b.library) + (a.architecture != b.architecture) +
         (a.precision != b.precision);
}

std::vector<EngineRequest> sets_in(const std::string& folder) {
  std::vector<EngineRequest> sets;
  const auto status = status_of(folder);
  if (!status || !S_ISDIR(status->st_mode)) return sets;
  for (const std::string& name : folders_in(folder)) {
    if (auto set = parsed(name)) sets.push_back(std::move(*set));
  }
  return sets;
}

// Returns the error that says what the bundle has instead of the requested set, and how to build that.
Error missing_set(const Bundle& bundle, const std::vector<EngineRequest>& sets, const EngineRequest& request) {
  const std::string build = text("latentloop build-engines ", bundle.folder(), " --precision ", request.precision);
  if (sets.empty()) return {LL_MISSING, text(bundle.folder(), " has no engines: ", build)};
  const auto nearest = std::min_element(sets.begin(), sets.end(), [&](const auto& a, const auto& b) {
    return differing_fields(a, request) < differing_fields(b, request);
  });
  return {LL_MISSING, text(path_in(bundle.path(kEngines), folder_name(*nearest)), " is ", mismatch(*nearest, request),
                           ": ", build)};
}

bool is_folder(const std::string& path) {
  check_link(path);
  const auto status = status_of(path);
  return status && S_ISDIR(status->st_mode);
}

// Returns the requested set with the version of the library that the bundle has: preferably the request's own.
EngineRequest existing(const Bundle& bundle, const EngineRequest& request) {
  const std::string folder = bundle.path(kEngines);
  check_link(folder);
  if (is_folder(path_in(folder, folder_name(request)))) return request;
  const std::vector<EngineRequest> sets = sets_in(folder);
  for (const EngineRequest& set : sets) {
    EngineRequest release = request;
    release.library = set.library;
    if (is_release_of(set.library, request.library) && differing_fields(set, release) == 0) return release;
  }
  throw missing_set(bundle, sets, request);
}

EngineSet verified_set(const Bundle& bundle, const EngineRequest& request) {
  check_precision(bundle.manifest(), bundle.folder(), request.precision);
  const EngineRequest key = existing(bundle, request);
  const std::string folder = path_in(bundle.path(kEngines), folder_name(key)), source = path_in(folder, kManifest);
  check_link(source);
  EngineSet set = read_engines(folder);
  const std::string differences = mismatch({set.flavour, set.library, set.architecture, set.precision}, key);
  if (!differences.empty()) throw Error(LL_MISSING, text(folder, " is ", differences));
  if (set.sources != source_digests(bundle.manifest(), request.precision)) {
    throw Error(LL_MISSING, text(folder, " is stale: built from another bundle"));
  }
  check_contents(set, bundle.manifest());
  for (const auto& [name, record] : set.files) verify_file(folder, name, record.size, record.sha256, source);
  return set;
}

}  // namespace

void check_has_engines(const Bundle& bundle, const std::string& precision) {
  check_precision(bundle.manifest(), bundle.folder(), precision);
  if (sets_in(bundle.path(kEngines)).empty()) throw missing_set(bundle, {}, {"", "", "", precision});
}

EngineSet find_engines(const Bundle& bundle, const EngineRequest& request) { return verified_set(bundle, request); }

}  // namespace latentloop
