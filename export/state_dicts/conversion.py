"""Conversion of a file's tensors to the weights of a model: names, shapes, and weight norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import CheckpointError, ConfigurationError, listed
from latentloop.export.checkpoints.lazy_arrays import LazyArray, Weights, weights_of
from latentloop.export.state_dicts.files.contents import describe
from latentloop.export.state_dicts.files.tensors import Shape
from latentloop.export.state_dicts.state_dict import StateDict
from latentloop.export.state_dicts.unused import is_unused

Explain = Callable[[list[str], list[str]], str]


@dataclass(frozen=True)
class TensorMapping:
    """The model's tensor ``name`` of ``shape``, and how the file stores it under ``key``.

    ``plain``: unchanged. ``normalised``: as g and v with w = g * v / |v|, the norm over all axes but the first.
    ``causal``: normalised, with the centre tap and the taps after it masked in v. ``transposed``: with its two axes
    exchanged. If the weight norm was removed, the file has the weight itself.
    """

    name: str
    key: str
    shape: Shape
    stored: Literal["plain", "normalised", "causal", "transposed"] = "plain"

    def stored_shapes(self, state: StateDict) -> dict[str, Shape]:
        """Returns the names and shapes of the file's tensors: g and v, or a single tensor."""
        if self.stored in ("normalised", "causal") and state.direction(self.key) != self.key:
            gain = (self.shape[0], *(1 for _ in self.shape[1:]))
            return {f"{self.key}_g": gain, f"{self.key}_v": self.shape}
        return {self.key: self.shape[::-1] if self.stored == "transposed" else self.shape}


def layer_mappings(
    name: str, key: str, shape: Shape, stored: Literal["plain", "normalised", "causal"], outputs: int
) -> list[TensorMapping]:
    """Returns the mappings of the weight and the bias [outputs] of a convolution or a linear layer."""
    return [
        TensorMapping(f"{name}.weight", f"{key}.weight", shape, stored),
        TensorMapping(f"{name}.bias", f"{key}.bias", (outputs,)),
    ]


@contextmanager
def configuration_errors(state: StateDict, remedy: str | None = None) -> Iterator[None]:
    """Converts ConfigurationErrors of the block to CheckpointErrors with the file."""
    try:
        yield
    except ConfigurationError as error:
        raise CheckpointError(f"{state.path}: {error}; {remedy or state.remedy}") from error


def check_shapes(
    state: StateDict, mappings: Iterable[TensorMapping], optional: Mapping[str, Shape], explain: Explain
) -> None:
    """Raises one CheckpointError that lists every tensor that is missing, unknown, unreadable or of another shape.

    ``optional``: tensors that the file can hold and the model does not use. ``explain(unknown, missing)`` returns what
    the names of unknown and missing tensors indicate, or an empty string.
    """
    expected = {key: shape for mapping in mappings for key, shape in mapping.stored_shapes(state).items()}
    known = expected | {key: shape for key, shape in optional.items() if key in state.tensors}

    # 1. Tensors that the layout has.
    missing, problems, total = [], [], 0
    for key, shape in known.items():
        tensor = state.tensors.get(key)
        if key not in state.entries:
            missing.append(key)
            problems.append(f"{key} is missing, expected {list(shape)}")
            continue
        if key in state.duplicates:
            both = f"{state.spelled(key)} and {state.duplicates[key].spelled}"
            raise CheckpointError(f"{state.path}: {both} both name {key}; keep one of them")
        total += tensor.nbytes if tensor is not None and not tensor.problem else 0
        problem = _problem(state, key, shape, fits=total <= state.most_bytes)
        if problem:
            problems.append(f"{state.spelled(key)} {problem}")

    # 2. Other entries in the same dictionaries.
    holders = {state.entries[key].holder for key in known if key in state.entries}
    unknown = [
        key for key, item in state.entries.items()
        if key not in known and item.holder in holders and not is_unused(key, item)
    ]  # fmt: skip
    for key in unknown:
        value = str(list(state.tensors[key].shape)) if key in state.tensors else describe(state.entries[key].value)
        problems.append(f"{state.spelled(key)} {value} is unknown")

    if problems:
        raise CheckpointError(
            f"{state.path}: {len(problems)} {'tensors do' if len(problems) > 1 else 'tensor does'} not fit the model "
            f"that the others make; {explain(unknown, missing) or state.remedy}:\n  " + listed(problems, "\n  ")
        )


def convert(state: StateDict, mappings: Iterable[TensorMapping]) -> Weights:
    """Returns the model's weights, float32, from a state with checked shapes; those of a large model are lazy.

    Raises CheckpointError for values that are not finite.
    """
    not_finite: list[str] = []
    arrays = {
        mapping.name: LazyArray(mapping.shape, partial(_convert, state, mapping, not_finite)) for mapping in mappings
    }
    weights = weights_of(arrays, check=True)
    if not_finite:
        raise CheckpointError(
            f"{state.path}: not finite as float32: {listed(not_finite)}; the training has diverged, "
            "take an earlier checkpoint"
        )
    return weights


def _problem(state: StateDict, key: str, shape: Shape, *, fits: bool) -> str:
    """Returns why an entry is not a readable tensor of this shape, or an empty string if it is."""
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


def _convert(state: StateDict, mapping: TensorMapping, not_finite: list[str]) -> NDArray[np.float32]:
    """Converts one tensor; appends to ``not_finite`` the file's tensors with values that are not finite."""
    stored = {key: state.tensors[key].values() for key in mapping.stored_shapes(state)}
    *gain, value = stored.values()
    if mapping.stored == "causal":
        value[:, :, -1, mapping.shape[-1] // 2 :] = 0  # before the norm: these values are arbitrary
    damaged = [state.spelled(key) for key, values in stored.items() if not np.isfinite(values).all()]
    if damaged:
        not_finite += damaged
        return np.zeros(mapping.shape, np.float32)
    if gain:
        # In place from here on: a large tensor should not be in memory several times.
        norm = np.sqrt(np.square(value).sum(axis=tuple(range(1, value.ndim)), keepdims=True))
        zero = np.flatnonzero(norm == 0).tolist()
        if zero:
            key = state.spelled(f"{mapping.key}_v")
            raise CheckpointError(
                f"{state.path}: {key} is all zero for output {listed(zero)}, so that its weight norm "
                "is undefined; take another checkpoint"
            )
        value *= gain[0]
        value /= norm
    with np.errstate(over="ignore"):  # overflow is reported as not finite
        converted = np.ascontiguousarray(value.T if mapping.stored == "transposed" else value, np.float32)
    if not np.isfinite(converted).all():
        not_finite += [state.spelled(key) for key in stored]
    return converted
