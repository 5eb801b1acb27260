"""The picture of a model card: samples of the finished bundle, or reconstructions if it cannot draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.bundle import Bundle
from latentloop.export.bundle.markdown_text import escaped
from latentloop.export.bundle.source import CheckedSource
from latentloop.export.inplace.check import affordable
from latentloop.images import grid
from latentloop.sampling.sampler import Sampler

MOST = 8  # rows, and columns
MOST_PIXELS = 1024  # of a side
SHOWN_HEIGHT = 64  # pixels; smaller images are enlarged to at least this height
SEED = 0  # of the first sample


@dataclass(frozen=True)
class CardPicture:
    """A picture uint8 [H, W, C], its description in a word, and its caption in Markdown."""

    image: NDArray[np.uint8]
    description: str
    caption: str


def card_picture(folder: Path, checked: CheckedSource) -> CardPicture | None:
    """Returns the picture for the bundle in a folder, drawn on the CPU with fixed seeds, a row for each class.

    A model that is slow here draws fewer images. Without a prior for every level, the picture shows images of the
    golden vectors above their reconstructions, and is None if those are not of a data set. Raises LatentLoopError.
    """
    sampler = Sampler(Bundle.open(folder), "cpu")
    height, width, _ = sampler.bundle.image_shape
    scale = -(-SHOWN_HEIGHT // height)
    rows, columns = (max(1, min(MOST, MOST_PIXELS // (side * scale))) for side in (height, width))
    if all(checked.priors):
        return _samples(sampler, checked, rows, columns, scale)
    if checked.source.golden_images is not None:
        return _reconstructions(sampler, checked.source.golden_images[:columns], scale)
    return None


def _samples(sampler: Sampler, checked: CheckedSource, rows: int, columns: int, scale: int) -> CardPicture:
    classes = sampler.bundle.classes
    priors = {str(index): prior for index, prior in enumerate(checked.priors) if prior is not None}
    count = affordable(priors, rows * columns)
    shown = np.unique(np.linspace(0, len(classes) - 1, min(rows, count), dtype=int)) if classes else None
    rows = min(rows, count) if shown is None else len(shown)
    columns = min(columns, max(1, count // rows))
    n = rows * columns
    labels = None if shown is None else shown.repeat(columns)
    images = sampler.sample(n, labels=labels, seeds=SEED).images
    settings = f"seeds {SEED} to {SEED + n - 1}, temperature 1, on a CPU in float32"
    if shown is None:
        caption = f"Samples: {settings}."
    else:
        names = ", ".join(escaped(classes[index], 60) for index in shown)
        few = "" if len(shown) == len(classes) else f" {len(shown)} of {len(classes)} classes,"
        caption = f"Samples,{few} a row each: {names}; {settings}."
    return CardPicture(grid(images, columns, scale), "Samples", caption)


def _reconstructions(sampler: Sampler, images: NDArray[np.uint8], scale: int) -> CardPicture:
    pairs = np.concatenate([images, sampler.decode(sampler.encode(images))])
    caption = "Images of the data set, and below them their reconstructions."
    return CardPicture(grid(pairs, len(images), scale), "Reconstructions", caption)
