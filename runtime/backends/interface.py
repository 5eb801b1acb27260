"""The interface between a sampler and a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec


MAX_BATCH = 4096  # samples; no backend accepts more at once


@dataclass(frozen=True)
class Decoding:
    """Images that are being decoded.

    ``wait`` returns the images [N, H, W, C] after rounding to uint8 and before, nominally in [-1, 1]; it is called
    once.
    """

    wait: Callable[[], tuple[NDArray[np.uint8], NDArray[np.float32]]]


class Backend(Protocol):
    """Runs a bundle's graphs on one device at one precision. Only one thread at a time may use it, because it owns the
    state buffers.
    """

    @property
    def device(self) -> str:
        """The value of ``Sampler(device=...)`` that selects this backend and device: cpu, cuda:0, …"""

    @property
    def reason(self) -> str:
        """One line for users: the library that runs the graphs, or why ``auto`` chose no faster backend."""

    @property
    def gpu(self) -> str | None:
        """The GPU's name and compute capability, such as "NVIDIA H200, 9.0"; None if the backend runs on none."""

    @property
    def largest_batch(self) -> int:
        """The largest number of samples in one batch."""

    @property
    def arrays(self) -> ArrayCodec | None:
        """The codec for arrays in GPU memory; None if the backend does not run on a GPU."""

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Returns the codes [B, h, w] of one batch by level, or None if ``after_row`` cancelled it. ``draws`` lists the
        levels from the top down; codes of a level are the condition of the next. ``after_row`` is called for every row
        that is drawn.
        """

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        """Yields the first ``rows`` rows of one level, each as soon as it is finished, with its logits."""

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Encodes images [N, H, W, C] to codes by level [N, h, w]."""

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        """Starts to decode codes by level [N, h, w]. The next batch may be drawn before the images are finished."""

    def after_fork(self) -> Backend:
        """Called in a forked process: returns a new backend for it. Raises InputError if a fork is not supported."""
