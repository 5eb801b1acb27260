"""One tensor of ours against the tensors of the file: names, shapes, and the weight norm folded away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.errors import CheckpointError, ConfigurationError
from latentloop.export.checkpoint import Weights, listed
from latentloop.export.configuration import Configuration
from latentloop.export.rosinality.statedict import REMEDY, Shape, StateDict


@dataclass(frozen=True)
class Entry:
    """Our tensor ``name`` of ``shape``, kept in the file under ``key``.

    ``plain`` as it is; ``normalised`` as g and v with w = g * v / |v|, the norm over all but the output axis;
    ``causal`` the same with the centre tap and those after it masked in v; ``transposed`` with its two axes
    exchanged.
    """

    name: str
    key: str
    shape: Shape
    stored: Literal["plain", "normalised", "causal", "transposed"] = "plain"

    def parts(self) -> dict[str, Shape]:
        """The file's tensors that make this one, with their shapes."""
        if self.stored in ("normalised", "causal"):
            return {
                f"{self.key}_g": (self.shape[0], *(1 for _ in self.shape[1:])),
                f"{self.key}_v": self.shape,
            }
        return {self.key: self.shape[::-1] if self.stored == "transposed" else self.shape}


def convolution(
    name: str, key: str, shape: Shape, stored: Literal["plain", "normalised", "causal"], outputs: int
) -> list[Entry]:
    """The weight and the bias [outputs] of a convolution or a linear layer."""
    return [
        Entry(f"{name}.weight", f"{key}.weight", shape, stored),
        Entry(f"{name}.bias", f"{key}.bias", (outputs,)),
    ]


def checked(state: StateDict, make: Callable[[], Configuration], remedy: str = REMEDY) -> Configuration:
    """What ``make`` builds; raises CheckpointError that names the file where that is no model."""
    try:
        return make()
    except ConfigurationError as error:
        raise CheckpointError(f"{state.path}: {error}; {remedy}") from error


def convert(state: StateDict, entries: Iterable[Entry], optional: dict[str, Shape]) -> Weights:
    """Our weights, float32. ``optional`` are tensors that the file may hold and that we have no use for.

    Raises CheckpointError that lists every tensor that is missing, unknown, mis-shaped or not finite.
    """
    entries = list(entries)
    expected = {key: shape for entry in entries for key, shape in entry.parts().items()}
    _compare(state, expected, optional)
    weights: Weights = {}
    broken: list[str] = []
    for entry in entries:
        weights[entry.name] = _fold(state, entry, broken)
    if broken:
        raise CheckpointError(
            f"{state.path}: not finite as float32: {listed(broken, ', ')}; the training has diverged, "
            "take an earlier checkpoint"
        )
    return weights


def _compare(state: StateDict, expected: dict[str, Shape], optional: dict[str, Shape]) -> None:
    problems = []
    for key, shape in expected.items():
        if key not in state.tensors:
            problems.append(f"{key} is missing, expected {list(shape)}")
    for key, tensor in state.tensors.items():
        found, known = tuple(tensor.shape), expected.get(key, optional.get(key))
        if known is None:
            problems.append(f"{state.spelled[key]} {list(found)} is unknown")
        elif found != known:
            problems.append(f"{state.spelled[key]} is {list(found)}, expected {list(known)}")
    if problems:
        raise CheckpointError(
            f"{state.path}: {len(problems)} tensors do not fit the model that the others make; {REMEDY}:\n  "
            + listed(problems, "\n  ")
        )


def _fold(state: StateDict, entry: Entry, broken: list[str]) -> NDArray[np.float32]:
    parts = {key: state.tensors[key].to(torch.float64, copy=True).numpy() for key in entry.parts()}
    *gain, value = parts.values()
    if entry.stored == "causal":
        value[:, :, -1, entry.shape[-1] // 2 :] = 0  # before the norm: files hold garbage there
    bad = [state.spelled[key] for key, part in parts.items() if not np.isfinite(part).all()]
    if bad:
        broken += bad
        return np.zeros(entry.shape, np.float32)
    if gain:
        norm = np.sqrt(np.square(value).sum(axis=tuple(range(1, value.ndim)), keepdims=True))
        dead = np.flatnonzero(norm == 0).tolist()
        if dead:
            key = state.spelled[f"{entry.key}_v"]
            raise CheckpointError(
                f"{state.path}: {key} is all zero for output {listed(dead, ', ')}, so that its weight norm "
                "is undefined; take another checkpoint"
            )
        value = gain[0] * value / norm
    with np.errstate(over="ignore"):  # reported as not finite
        folded = np.ascontiguousarray(value.T if entry.stored == "transposed" else value, np.float32)
    if not np.isfinite(folded).all():
        broken += [state.spelled[key] for key in parts]
    return folded
