"""What of a VQ-VAE decides the codes of an image, as one digest: two checkpoints that share it share their priors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.export.configuration import VqvaeConfig

# The encoders, what leads from a level's codewords to the codes below, and the codebooks; not what makes pixels.
DECIDES = ("encoders.", "to_code.", "level_decoders.", "codebooks.")


def codes_digest(config: VqvaeConfig, weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 in hexadecimal over the names, shapes and float32 values of the weights that decide codes.

    ``weights`` as a checkpoint of a VQ-VAE holds them, in any order. Training the pixel decoder further leaves the
    digest as it is; the form of the residual blocks changes it.
    """
    found = hashlib.sha256(b"inplace\n" if config.inplace else b"")
    for name in sorted(weights):
        if name.startswith(DECIDES):
            value = np.ascontiguousarray(weights[name], "<f4")
            found.update(f"{name} {value.shape}\n".encode())
            found.update(value.tobytes())
    return found.hexdigest()
