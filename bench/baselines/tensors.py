"""Tensors of row and step: values at an index on the host or on the device, and structures that hold tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloop.bench.baselines.implementation import Inputs
from latentloop.export.configuration import PriorConfig

Index = int | Tensor  # or int64 [1]


Operands = tuple[Tensor, Tensor | None, Tensor | None]  # codes, upper, labels, as in ``Inputs``


def tensors_of(inputs: Inputs, device: str = "cpu") -> Operands:
    """Returns codes, upper and labels on a device; on the CPU they share the arrays' memory."""
    upper, labels = (None if x is None else torch.from_numpy(x).to(device) for x in (inputs.upper, inputs.labels))
    return torch.from_numpy(inputs.codes).to(device), upper, labels


def random_tensors(config: PriorConfig, batch: int, device: str = "cpu") -> Operands:
    """Returns ``Inputs.random`` on a device."""
    return tensors_of(Inputs.random(config, batch), device)


def take(x: Tensor, index: Index, count: int = 0) -> Tensor:
    """Returns x[index], or x[index : index + count]."""
    if isinstance(index, int):
        return x[index : index + count] if count else x[index]
    taken = x.index_select(0, index + torch.arange(count, device=x.device) if count else index)
    return taken if count else taken[0]


def put(x: Tensor, index: Index, value: Tensor, axis: int = 0) -> None:
    """Sets the values at ``index`` of an axis: x[index] = value for axis 0."""
    if isinstance(index, int):
        x.select(axis, index).copy_(value)
    else:
        x.index_copy_(axis, index, value.unsqueeze(axis))


def map_tensors(value: Any, function: Callable[[Any], Any]) -> Any:
    """Returns the same structure of dataclasses, tuples and lists with ``function`` applied to arrays and tensors."""
    if isinstance(value, (np.ndarray, Tensor)):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(item, function) for item in value)
    if isinstance(value, PriorConfig) or not is_dataclass(value):
        return value
    kind: Any = type(value)
    return kind(**{field.name: map_tensors(getattr(value, field.name), function) for field in fields(value)})
