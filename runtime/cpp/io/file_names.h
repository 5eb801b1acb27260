// Names inside a bundle's folder.
#pragma once

namespace latentloop {

constexpr const char* kManifest{"manifest.json"};  // of a bundle, and of a set of engines
constexpr const char* kEngines{"engines"};         // the folder for sets of engines built from the bundle

}  // namespace latentloop
