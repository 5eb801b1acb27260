"""Results of the sampler and the classifier, and progress reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """Progress of a run: the finished rows of one level in the current batch, and the finished images of the run.

    ``rows_done`` counts from 1 to ``rows_total``, the level's height, for every level that is drawn and every batch:
    rows 0 to ``rows_done`` - 1 of ``codes[level]`` are finished. The batch's images are number ``images_done`` of the
    run and those after it.
    """

    level: str
    rows_done: int
    rows_total: int
    images_done: int
    images_total: int
    _codes: Callable[[], dict[str, NDArray[np.int64]]] = field(default=dict, repr=False, compare=False)
    _decoded: Callable[[], NDArray[np.uint8]] = field(
        default=lambda: np.empty((0, 0, 0, 0), np.uint8), repr=False, compare=False
    )

    @cached_property
    def codes(self) -> dict[str, NDArray[np.int64]]:
        """The codes so far of the current batch's images, by level, int64 [n, h, w]: drawn or given, else -1.

        The first access copies them, on a GPU from the device, and has to be made while the callback runs; later it
        raises InputError. The arrays stay as they are afterwards.
        """
        return self._codes()

    def preview(self) -> NDArray[np.uint8]:
        """Returns the current batch's images so far, uint8 [n, H, W, C]: the decoded codes, with the mean codeword of
        its level for each that is not drawn yet (see ``Sampler.decode``). After the last row of all levels they are the
        finished images.

        The first call decodes, which takes as long as a batch's images, and has to be made while the callback runs;
        later it raises InputError, and always with a bundle of an earlier release, whose decoder has no such codeword.
        Other calls return the same array, which stays as it is.
        """
        return self._preview

    @cached_property
    def _preview(self) -> NDArray[np.uint8]:
        return self._decoded()


Callback = Callable[[Progress], bool | None]  # called after every row; only False cancels the run


@dataclass(frozen=True, eq=False)
class Samples:
    """Finished samples; N is smaller than requested if the run was cancelled.

    ``images`` uint8 [N, H, W, C]; ``codes`` by level, int64 [N, h, w]; ``seeds`` uint64 [N]; ``labels`` int64 [N], or
    None for a bundle without classes.
    """

    images: NDArray[np.uint8]
    codes: dict[str, NDArray[np.int64]]
    seeds: NDArray[np.uint64]
    labels: NDArray[np.int64] | None
    cancelled: bool = False

    def __repr__(self) -> str:
        codes = ", ".join(f"{name} {list(codes.shape)}" for name, codes in self.codes.items())
        labels = "" if self.labels is None else f", labels {_first_and_last(self.labels)}"
        cancelled = ", cancelled" if self.cancelled else ""
        return (
            f"<Samples: images {list(self.images.shape)}, codes {codes}, seeds {_first_and_last(self.seeds)}{labels}"
            f"{cancelled}>"
        )

    def take(self, chosen: slice | NDArray[np.int64]) -> Samples:
        """Returns the samples of these indices."""
        return replace(
            self,
            images=self.images[chosen],
            codes={name: codes[chosen] for name, codes in self.codes.items()},
            seeds=self.seeds[chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )


def joined(parts: Sequence[Samples]) -> Samples:
    """Returns the samples of all parts, at least one, in order; cancelled if the last part is."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    return Samples(
        images=np.concatenate([part.images for part in parts]),
        codes={name: np.concatenate([part.codes[name] for part in parts]) for name in parts[0].codes},
        seeds=np.concatenate([part.seeds for part in parts]),
        labels=np.concatenate(labels) if labels else None,
        cancelled=parts[-1].cancelled,
    )


@dataclass(frozen=True, eq=False)
class Classification:
    """The classifier's results for N images.

    ``probabilities`` float32 [N, classes]; ``features`` float32 [N, F], the inputs of the last layer. F is 0 if the
    classifier, one that was attached in ONNX, has no features.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"<Classification: probabilities {list(self.probabilities.shape)}, features {list(self.features.shape)}>"


def _first_and_last(values: NDArray[Any]) -> str:
    """Returns values [N] as text: the first and the last of many."""
    if len(values) <= 5:
        return ", ".join(map(str, values)) or "none"
    return f"{', '.join(map(str, values[:4]))}, … {values[-1]}"
