"""How new samples are: their nearest training images, against those of held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.quality.neighbours import Vectors, nearest
from latentloop.images.writing import grid

Images = NDArray[np.uint8]
SHOWN = 3  # neighbours of a sample in the picture
ROWS = 8  # samples in the picture, the first ones
SHOWN_HEIGHT = 128  # pixels; an image of the picture is enlarged to at least this
GAP = 12  # pixels between a picture's parts
PERCENTILES = (1, 50, 99)


@dataclass(frozen=True)
class Novelty:
    """Distances to the nearest training image, of samples [N] and of held-out images [M]; and of each sample the
    ``SHOWN`` nearest training images, their indices [N, SHOWN] and distances [N, SHOWN]."""

    samples: Vectors
    held_out: Vectors
    indices: NDArray[np.int64]
    distances: Vectors

    def to_json(self) -> dict[str, Any]:
        """Percentiles of both distances, and the ratio of their medians: near 1 where samples are as new as held-out
        images, far under 1 where they repeat training images."""
        both = {"samples": self.samples, "held_out": self.held_out}
        found = {name: [float(v) for v in np.percentile(values, PERCENTILES)] for name, values in both.items()}
        median = {name: float(np.median(values)) for name, values in both.items()}
        ratio = median["samples"] / median["held_out"] if median["held_out"] else None
        return {"percentiles": list(PERCENTILES), **found, "ratio_of_medians": ratio}


def novelty(samples: Vectors, held_out: Vectors, training: Vectors) -> Novelty:
    """Of three [N, D], [M, D] and [L, D], L at least ``SHOWN``: each image is its pixels or its features."""
    distances, indices = nearest(samples, training, SHOWN)
    return Novelty(distances[:, 0], nearest(held_out, training, 1)[0][:, 0], indices, distances)


def pixels(images: Images) -> NDArray[np.float32]:
    """Images uint8 [N, H, W, C], H and W even -> means of 2 x 2 pixels over √D, float32 [N, D], D = H W C / 4.

    Distances between these are root mean squares, in grey levels.
    """
    n, height, width, channels = images.shape
    quarters = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    means: NDArray[np.float32] = quarters.mean((2, 4), dtype=np.float32).reshape(n, -1)
    means /= np.float32(means.shape[1] ** 0.5)
    return means


def picture(samples: Images, training: Images, found: list[Novelty]) -> Images:
    """The first samples, a row each, and to the right of each its nearest training images by each kind of distance.

    Images [N, H, W, C] -> one [.., .., C].
    """
    rows = min(ROWS, len(samples))
    scale = -(-SHOWN_HEIGHT // samples.shape[1])
    parts = [grid(samples[:rows], 1, scale)]
    for of in found:
        parts += [grid(training[of.indices[:rows].ravel()], SHOWN, scale)]
    gap = np.full((parts[0].shape[0], GAP, samples.shape[3]), 255, np.uint8)
    return np.concatenate([parts[0], *(piece for part in parts[1:] for piece in (gap, part))], 1)
