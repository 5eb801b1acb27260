// Sessions of the encoder, the decoder and the classifier, whose inputs and outputs are those that the manifest
// implies. All functions throw Error (LL_BAD_BUNDLE) otherwise.
#pragma once

#include <memory>

#include "../onnxruntime/session.h"

namespace latentloop {

std::shared_ptr<const Session> checked_encoder(Sessions& sessions, int threads);
std::shared_ptr<const Session> checked_decoder(Sessions& sessions, int threads);

// The bundle must have a classifier.
std::shared_ptr<const Session> checked_classifier(Sessions& sessions, int threads);

}  // namespace latentloop
