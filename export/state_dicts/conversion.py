"""One tensor of ours against the tensors of the file: names, shapes, and the weight norm folded away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import CheckpointError, ConfigurationError
from latentloop.export.checkpoints.checkpoint import Weights, listed
from latentloop.export.configuration import Configuration
from latentloop.export.rosinality import misfits
from latentloop.export.state_dicts.contents import describe
from latentloop.export.state_dicts.state_dict import REMEDY, StateDict
from latentloop.export.state_dicts.tensors import Shape


@dataclass(frozen=True)
class Entry:
    """Our tensor ``name`` of ``shape``, kept in the file under ``key``.

    ``plain`` as it is; ``normalised`` as g and v with w = g * v / |v|, the norm over all but the output axis;
    ``causal`` the same with the centre tap and those after it masked in v; ``transposed`` with its two axes
    exchanged. A file whose weight norm was removed has the weight itself.
    """

    name: str
    key: str
    shape: Shape
    stored: Literal["plain", "normalised", "causal", "transposed"] = "plain"

    def parts(self, state: StateDict) -> dict[str, Shape]:
        """The file's tensors that make this one, with their shapes; one where the weight norm was removed."""
        if self.stored in ("normalised", "causal") and state.direction(self.key) != self.key:
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


def check_shapes(state: StateDict, entries: Iterable[Entry], optional: dict[str, Shape]) -> None:
    """Raises one CheckpointError that lists every tensor that is missing, unknown, mis-shaped or unreadable.

    ``optional`` are tensors that the file may hold and that we have no use for.
    """
    expected = {key: shape for entry in entries for key, shape in entry.parts(state).items()}
    known = expected | {key: shape for key, shape in optional.items() if key in state.tensors}
    missing, problems, total = [], [], 0
    for key, shape in known.items():
        tensor = state.tensors.get(key)
        if key not in state.entries:
            missing.append(key)
            problems.append(f"{key} is missing, expected {list(shape)}")
            continue
        if key in state.twice:
            twice = f"{state.spelled(key)} and {state.twice[key].spelled}"
            raise CheckpointError(f"{state.path}: {twice} both name {key}; keep one of them")
        total += tensor.nbytes if tensor is not None and not tensor.problem else 0
        found = _fault(state, key, shape, fits=total <= state.most_bytes)
        if found:
            problems.append(f"{state.spelled(key)} {found}")
    holders = {state.entries[key].holder for key in known if key in state.entries}
    unknown = [
        key for key, item in state.entries.items()
        if key not in known and item.holder in holders and not misfits.harmless(key, item)
    ]  # fmt: skip
    for key in unknown:
        found = str(list(state.tensors[key].shape)) if key in state.tensors else describe(state.entries[key].value)
        problems.append(f"{state.spelled(key)} {found} is unknown")
    if problems:
        cause = misfits.foreign_names(unknown, missing) or REMEDY
        raise CheckpointError(
            f"{state.path}: {len(problems)} {'tensors do' if len(problems) > 1 else 'tensor does'} not fit the model "
            f"that the others make; {cause}:\n  " + listed(problems, "\n  ")
        )


def _fault(state: StateDict, key: str, shape: Shape, *, fits: bool) -> str:
    """What is wrong with an entry that should be a tensor of this shape; an empty string if nothing is."""
    tensor = state.tensors.get(key)
    if tensor is None:
        return f"is {describe(state.entries[key].value)}, expected a tensor"
    if tensor.problem:
        return tensor.problem
    if not fits:
        return f"claims {list(tensor.shape)}, more than the file holds"
    if tensor.shape != shape:
        return f"is {list(tensor.shape)}, expected {list(shape)}"
    return "" if tensor.is_float else f"is {tensor.dtype}, expected float32, float16, bfloat16 or float64"


def convert(state: StateDict, entries: Iterable[Entry]) -> Weights:
    """Our weights, float32, of a state whose shapes were checked. Raises CheckpointError for values that are none."""
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


def _fold(state: StateDict, entry: Entry, broken: list[str]) -> NDArray[np.float32]:
    parts = {key: state.tensors[key].values() for key in entry.parts(state)}
    *gain, value = parts.values()
    if entry.stored == "causal":
        value[:, :, -1, entry.shape[-1] // 2 :] = 0  # before the norm: files hold garbage there
    bad = [state.spelled(key) for key, part in parts.items() if not np.isfinite(part).all()]
    if bad:
        broken += bad
        return np.zeros(entry.shape, np.float32)
    if gain:
        norm = np.sqrt(np.square(value).sum(axis=tuple(range(1, value.ndim)), keepdims=True))
        dead = np.flatnonzero(norm == 0).tolist()
        if dead:
            key = state.spelled(f"{entry.key}_v")
            raise CheckpointError(
                f"{state.path}: {key} is all zero for output {listed(dead, ', ')}, so that its weight norm "
                "is undefined; take another checkpoint"
            )
        value = gain[0] * value / norm
    with np.errstate(over="ignore"):  # reported as not finite
        folded = np.ascontiguousarray(value.T if entry.stored == "transposed" else value, np.float32)
    if not np.isfinite(folded).all():
        broken += [state.spelled(key) for key in parts]
    return folded
