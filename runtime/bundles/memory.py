"""The memory that sampling needs on a CPU, estimated from a bundle's files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.views import buffer_shape
from latentloop.environment.machine import memory_limit
from latentloop.errors import BundleError

# In bytes, measured:
PROGRAM = 100_000_000  # Python with ONNX Runtime
PACKED = {"float32": 1.9, "int8": 1.0}  # of the priors' weights, per byte that they have in float32
CONDITION = 10  # of a condition's activations, per byte of the condition
CODEC_PIXEL = 200  # of the encoder's and the decoder's activations, per pixel of a batch

LARGEST_SHARE = 0.5  # of the machine's memory, for the priors of all levels at once
CODEC_PIXELS = 2**22  # of the images that the codec takes at once: 64 images of 256 x 256, or 4 of 1024 x 1024
_WIDTHS = {"F32": 1, "F16": 2, "BF16": 2}  # bytes in float32 per byte that is stored


@dataclass(frozen=True)
class Memory:
    """Bytes that sampling needs in one precision: ``levels``, of each level's prior with its state, and ``others``, of
    the program and the decoder. ``total`` is for all levels at once, ``one_level`` for one level at a time.
    """

    levels: Mapping[str, int]
    others: int

    @property
    def total(self) -> int:
        """Bytes if the priors of all levels stay in memory."""
        return self.others + sum(self.levels.values())

    @property
    def one_level(self) -> int:
        """Bytes if each level's prior is freed before the next is loaded."""
        return self.others + max(self.levels.values(), default=0)

    @property
    def all_levels_fit(self) -> bool:
        """Whether the priors of all levels stay in this machine's memory."""
        limit = memory_limit()
        return limit is None or self.total <= LARGEST_SHARE * limit


def sampling_memory(bundle: Bundle, precision: str, batch: int) -> Memory:
    """Returns an estimate of what a sampler on the CPU needs for a batch. The priors' weights are packed for the
    native operators: without these, it is less.

    Raises BundleError if the weights cannot be read.
    """
    weights = _weights(bundle)
    levels = {}
    for level in bundle.manifest.levels:
        if level.prior is not None:
            buffers = {
                buffer.name: math.prod(buffer_shape(buffer, batch)) * np.dtype(buffer.dtype).itemsize
                for buffer in level.prior.memories
            }
            state = sum(buffers.values()) + CONDITION * buffers.get("condition", 0)
            levels[level.name] = round(PACKED[precision] * weights.get(level.name, 0)) + state
    height, width, _ = bundle.manifest.image
    pixels = height * width * min(batch, codec_batch(bundle))
    return Memory(levels, PROGRAM + CODEC_PIXEL * pixels + weights.get("vqvae", 0))


def described(bundle: Bundle, precision: str) -> dict[str, Any]:
    """Returns as plain JSON types the bytes that sampling needs on this machine, for an image and each further one of a
    batch. Raises BundleError like ``sampling_memory``.
    """
    one, two = (sampling_memory(bundle, precision, batch) for batch in (1, 2))
    needed = [each.total if one.all_levels_fit else each.one_level for each in (one, two)]
    return {
        "bytes": needed[0],
        "bytes_per_further_image": needed[1] - needed[0],
        "levels": dict(one.levels),
        "one_level_at_a_time": not one.all_levels_fit,
    }


def codec_batch(bundle: Bundle) -> int:
    """Returns how many images the encoder and the decoder take at once, so that their activations stay small."""
    height, width, _ = bundle.manifest.image
    return max(1, CODEC_PIXELS // (height * width))


def _weights(bundle: Bundle) -> dict[str, int]:
    """Returns the bytes in float32 of the weights of every network: "vqvae", or the name of the level of a prior.

    They are tensors of a safetensors file, whose names begin with that of the network.
    """
    path = bundle.path / bundle.manifest.weights
    sizes: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                first, last = tensor["data_offsets"]
                network = name.partition(".")[0]
                sizes[network] = sizes.get(network, 0) + (last - first) * _WIDTHS.get(tensor["dtype"], 1)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: not readable as a safetensors file: {error}; export the bundle again") from error
    return sizes
