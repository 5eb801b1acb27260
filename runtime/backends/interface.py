"""The interface between a sampler and what runs a bundle's graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec


MOST_BATCH = 4096  # samples; no backend accepts more at once


class Decoding(Protocol):
    """Images whose decoding has been started."""

    def wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Returns the images [N, H, W, C], and the same before rounding, nominally in [-1, 1]."""


class Backend(Protocol):
    """Runs a bundle's graphs on one device at one precision. Only one thread at a time may use it: it owns the loops'
    memory.
    """

    @property
    def device(self) -> str:
        """The value of ``Sampler(device=...)`` that selects it: cpu, cuda:0, …"""

    @property
    def reason(self) -> str:
        """One line for users: which library runs the graphs, or why no faster backend was chosen."""

    @property
    def largest_batch(self) -> int:
        """The largest number of samples that it accepts at once."""

    @property
    def arrays(self) -> ArrayCodec | None:
        """Encodes and decodes arrays in GPU memory; None if the backend does not run on a GPU."""

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Returns one batch's codes by level [B, h, w], or None if ``after_row`` cancelled it. ``draws`` lists the
        levels from the top down.
        """

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        """Yields the first ``rows`` rows of one level, each when it is finished, with its logits."""

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Encodes images [N, H, W, C] to codes by level [N, h, w]."""

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        """Starts to decode codes by level [N, h, w]; other work may begin before the images are finished."""

    def after_fork(self) -> Backend:
        """Returns the backend for a process that was forked from this one. Raises InputError if there can be none."""
