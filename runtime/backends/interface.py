"""What a sampler needs of whatever runs a bundle's graphs, on a CPU or on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec


MOST_BATCH = 4096  # of any backend


class Decoding(Protocol):
    """Images that are being decoded."""

    def wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Images [N, H, W, C], and before rounding, nominally in [-1, 1]."""


class Backend(Protocol):
    """One device, one precision. Not for two threads at once: it owns the loops' memory."""

    @property
    def device(self) -> str:
        """What ``Sampler(device=...)`` would choose it by: cpu, cuda:0, …"""

    @property
    def reason(self) -> str:
        """One line for people: what runs the graphs, and why not something faster."""

    @property
    def largest_batch(self) -> int:
        """What it takes at once."""

    @property
    def arrays(self) -> ArrayCodec | None:
        """What encodes and decodes arrays on a GPU; None without one."""

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """One batch's codes by level [B, h, w], levels from the top; None where ``after_row`` cancelled it."""

    def rows(self, level: Level, controls: LevelInputs, rows: int) -> Iterator[Row]:
        """The first rows of one level, each as it is finished, with its logits."""

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Images [N, H, W, C] -> codes by level [N, h, w]."""

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        """Codes by level [N, h, w] -> images, which may still be on their way while other work begins."""

    def after_fork(self) -> Backend:
        """What takes its place in a process that was forked from this one. Raises InputError where nothing can."""
