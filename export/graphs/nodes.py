"""The operations on nodes that building a graph and building a function share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

Array = NDArray[Any]
Constant = Array | Sequence[int] | int | float
LAST = 2**62  # the end of a slice that reaches the end of its axis


class NodeBuilder(ABC):
    """Builds a list of nodes; values are strings, their names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    @abstractmethod
    def constant(self, value: Constant) -> str:
        """Adds a small constant; Python integers become int64, floats float32."""

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output; returns the output."""
        return self.split_op(kind, 1, *inputs, name=name, **attributes)[0]

    def split_op(self, kind: str, count: int, *inputs: str, name: str = "", **attributes: Any) -> list[str]:
        """Adds a node with ``count`` outputs; returns them."""
        label = name or f"{kind.lower()}_{len(self.nodes)}"
        outputs = [label] if count == 1 else [f"{label}.{n}" for n in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=label, **attributes))
        return outputs

    # Compositions of several nodes.

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """x[start:stop] along one axis."""
        bounds = (self.constant([v]) for v in (start, stop, axis))
        return self.op("Slice", x, *bounds)

    def split(self, x: str, count: int, axis: int) -> list[str]:
        """Equal parts along one axis."""
        if count == 1:
            return [x]
        return self.split_op("Split", count, x, axis=axis, num_outputs=count)

    def unstack(self, x: str, count: int) -> list[str]:
        """Splits x [count, ...] along its first axis into ``count`` tensors without it."""
        return [self.op("Squeeze", part, self.constant([0])) for part in self.split(x, count, 0)]

    def stack(self, parts: Sequence[str]) -> str:
        """Stacks tensors of one shape along a new first axis."""
        shaped = [self.op("Unsqueeze", part, self.constant([0])) for part in parts]
        return shaped[0] if len(shaped) == 1 else self.op("Concat", *shaped, axis=0)

    def sum_axis(self, x: str, axis: int) -> str:
        """Sums over one axis and removes it."""
        return self.op("ReduceSum", x, self.constant([axis]), keepdims=0)

    def glu(self, x: str, axis: int) -> str:
        """a * sigmoid(b), for the halves a and b of one axis."""
        a, b = self.split(x, 2, axis)
        return self.op("Mul", a, self.op("Sigmoid", b))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Reshapes; 0 keeps a dimension, -1 is inferred."""
        return self.op("Reshape", x, self.constant(list(shape)))


def as_constant(value: Constant) -> Array:
    """Returns integers as int64, all other values as float32."""
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
