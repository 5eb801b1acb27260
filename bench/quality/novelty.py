"""Novelty of samples: their distances to the nearest training images, compared with those of held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.quality.neighbours import Vectors, nearest
from latentloop.images.writing import grid

Images = NDArray[np.uint8]
SHOWN = 3  # neighbours of a sample in the picture
ROWS = 8  # samples in the picture
SHOWN_HEIGHT = 128  # pixels; the picture's images are enlarged to at least this height
GAP = 12  # pixels between the picture's parts
PERCENTILES = (1, 50, 99)


@dataclass(frozen=True)
class Novelty:
    """Distances to the nearest training image, of samples [N] and of held-out images [M].

    ``indices`` [N, SHOWN] and ``distances`` [N, SHOWN] are each sample's nearest training images.
    """

    samples: Vectors
    held_out: Vectors
    indices: NDArray[np.int64]
    distances: Vectors

    def to_json(self) -> dict[str, Any]:
        """Returns percentiles of both distances, and the ratio of their medians.

        The ratio is near 1 if samples are as new as held-out images, and far below 1 if they repeat training images.
        """
        both = {"samples": self.samples, "held_out": self.held_out}
        percentiles = {name: [float(v) for v in np.percentile(values, PERCENTILES)] for name, values in both.items()}
        median = {name: float(np.median(values)) for name, values in both.items()}
        ratio = median["samples"] / median["held_out"] if median["held_out"] else None
        return {"percentiles": list(PERCENTILES), **percentiles, "ratio_of_medians": ratio}


def novelty(samples: Vectors, held_out: Vectors, training: Vectors) -> Novelty:
    """Returns the novelty of samples [N, D] to held-out [M, D] and training images [L, D], L at least ``SHOWN``.

    Each vector holds an image's pixels or its features.
    """
    distances, indices = nearest(samples, training, SHOWN)
    return Novelty(distances[:, 0], nearest(held_out, training, 1)[0][:, 0], indices, distances)


def pixels(images: Images) -> NDArray[np.float32]:
    """Images uint8 [N, H, W, C], H and W even -> means of 2 x 2 pixels divided by √D, float32 [N, D], D = H W C / 4.

    Distances between these vectors are root mean square differences in grey levels.
    """
    n, height, width, channels = images.shape
    quarters = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    means: NDArray[np.float32] = quarters.mean((2, 4), dtype=np.float32).reshape(n, -1)
    means /= np.float32(means.shape[1] ** 0.5)
    return means


def picture(samples: Images, training: Images, novelties: list[Novelty]) -> Images:
    """Returns a picture [.., .., C] of the first samples, one per row, and their nearest training images.

    To the right of each sample are its nearest of the training images [N, H, W, C], by each novelty's distance.
    """
    rows = min(ROWS, len(samples))
    scale = -(-SHOWN_HEIGHT // samples.shape[1])
    parts = [grid(samples[:rows], 1, scale)]
    for measure in novelties:
        parts += [grid(training[measure.indices[:rows].ravel()], SHOWN, scale)]
    gap = np.full((parts[0].shape[0], GAP, samples.shape[3]), 255, np.uint8)
    return np.concatenate([parts[0], *(piece for part in parts[1:] for piece in (gap, part))], 1)
