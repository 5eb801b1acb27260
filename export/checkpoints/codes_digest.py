"""The digest of the VQ-VAE's weights that determine an image's codes; VQ-VAEs with equal digests can share priors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.code_usage import without_usage
from latentloop.export.configuration import VqvaeConfig

# The encoders, the layers between a level's codewords and the codes of the level below, and the codebooks; not how
# often the codes occur.
_PREFIXES = ("encoders.", "to_code.", "level_decoders.", "codebooks.")


def codes_digest(config: VqvaeConfig, weights: Mapping[str, NDArray[Any]]) -> str:
    """Returns the SHA-256, in hexadecimal, of the names, shapes and float32 values of the weights that determine codes.

    ``weights``: those of a VQ-VAE's checkpoint, in any order. Training the pixel decoder further does not change the
    digest; the variant of the residual blocks (``inplace``) does.
    """
    digest = hashlib.sha256(b"inplace\n" if config.inplace else b"")
    for name in sorted(without_usage(weights)):
        if name.startswith(_PREFIXES):
            value = np.ascontiguousarray(weights[name], "<f4")
            digest.update(f"{name} {value.shape}\n".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()


def with_codes_digest(vqvae: Checkpoint) -> Checkpoint:
    """Returns a VQ-VAE's checkpoint that records its codes digest: a recorded one stays, also after rounding."""
    config, recorded = vqvae.config, vqvae.provenance.get("codes_sha256")
    assert isinstance(config, VqvaeConfig)
    digest = recorded if isinstance(recorded, str) else codes_digest(config, vqvae.weights)
    return replace(vqvae, provenance={**vqvae.provenance, "codes_sha256": digest})
