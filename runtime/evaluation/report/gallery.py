"""The images that a report shows beside their reconstructions."""

from __future__ import annotations

import heapq
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latentloop.evaluation.pixel_errors import psnr

Images = NDArray[np.uint8]
MOST = 16  # chosen images, and as many of the worst


@dataclass(frozen=True, eq=False)
class Pair:
    """An image [H, W, C] of that name, its reconstruction, and the PSNR in dB."""

    name: str
    image: Images
    reconstruction: Images
    psnr: float


@dataclass
class Gallery:
    """Collects the pairs with the numbers ``shown``, and the ``MOST`` with the lowest PSNR of all."""

    shown: Container[int]
    chosen: list[Pair] = field(default_factory=list)
    _lowest: list[tuple[float, int, Pair]] = field(default_factory=list)  # a heap: the highest of them first

    def add(
        self,
        numbers: Sequence[int],
        names: Sequence[str],
        images: Images,
        reconstructions: Images,
        errors: NDArray[np.float64],
    ) -> None:
        """Adds images [n, H, W, C] and their squared errors [n], in squared grey levels."""
        ratios = psnr(errors).tolist()
        for number, name, image, other, ratio in zip(numbers, names, images, reconstructions, ratios, strict=True):
            is_shown = number in self.shown
            is_low = len(self._lowest) < MOST or ratio < -self._lowest[0][0]
            if not (is_shown or is_low):
                continue
            pair = Pair(name, image.copy(), other.copy(), ratio)  # not views, which would keep their batch
            if is_shown:
                self.chosen.append(pair)
            if is_low:
                heapq.heappush(self._lowest, (-ratio, -number, pair))
                if len(self._lowest) > MOST:
                    heapq.heappop(self._lowest)

    @property
    def worst(self) -> list[Pair]:
        """The pairs with the lowest PSNR, the lowest first."""
        return [pair for _, _, pair in sorted(self._lowest, key=lambda each: (-each[0], -each[1]))]
