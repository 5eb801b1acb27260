"""The inputs and outputs of a bundle's encoder and decoder: what the manifest says of images and levels as tensors."""

from dataclasses import dataclass
from typing import Annotated

from latentloop.bundles.manifest import BATCH, DTYPES, Manifest
from latentloop.io.json_reading import Shape


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph or an engine; ``shape`` may contain the dynamic size "batch"."""

    name: str
    dtype: Annotated[str, DTYPES]  # in a manifest; of rewritten graphs also float16 or bfloat16
    shape: Shape


@dataclass(frozen=True)
class CodecGraph:
    """The file of the encoder or the decoder: a graph, or an engine's plan. Inputs and outputs are ``images``, one
    tensor per level with the level's name, and ``decoded`` of the decoder.
    """

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def codec_of(manifest: Manifest) -> tuple[CodecGraph, CodecGraph]:
    """Returns descriptions of a bundle's encoder and decoder."""
    images = Tensor("images", "uint8", (BATCH, *manifest.image))
    decoded = Tensor("decoded", "float32", images.shape)
    codes = tuple(Tensor(v.name, "int64", (BATCH, v.height, v.width)) for v in manifest.levels)
    return CodecGraph(manifest.encoder, (images,), codes), CodecGraph(manifest.decoder, codes, (images, decoded))
