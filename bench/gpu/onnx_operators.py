"""The ONNX operators that a bundle's graphs use, in PyTorch: functions of a node's inputs and attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentloop.kernels.element_types import ELEMENT_TYPES

Attributes = dict[str, Any]
Result = Any  # a tensor, or a tuple of several
Operator = Callable[[list[Any], Attributes], Result]  # Any: None for an omitted input

# Inputs whose values must be on the host, such as shapes, axes and counts, by their index.
HOST_OPERANDS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("CumSum", "Expand", "OneHot", "ReduceMax", "ReduceSum", "ReduceSumSquare"), (1,)),
    **dict.fromkeys(("Reshape", "Split", "Squeeze", "TopK", "Unsqueeze"), (1,)),
    "Slice": (1, 2, 3, 4),
}
_DTYPES = {each.onnx: getattr(torch, each.name) for each in ELEMENT_TYPES.values() if each.onnx}


def _conv(x: list[Any], a: Attributes) -> Result:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    padded = functional.pad(x[0], (left, right, top, bottom))
    return functional.conv2d(padded, x[1], x[2] if len(x) > 2 else None, a.get("strides", 1))


def _conv_transpose(x: list[Any], a: Attributes) -> Result:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    whole = functional.conv_transpose2d(x[0], x[1], x[2] if len(x) > 2 else None, a.get("strides", 1))
    return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]


def _cum_sum(x: list[Any], a: Attributes) -> Result:
    axis = int(x[1])
    total = torch.cumsum(x[0], axis)
    if not a.get("exclusive", 0):
        return total
    before = total.narrow(axis, 0, total.shape[axis] - 1)
    return torch.cat([torch.zeros_like(x[0].narrow(axis, 0, 1)), before], axis)


def _div(x: list[Any], a: Attributes) -> Result:
    return x[0] / x[1] if x[0].is_floating_point() else torch.div(x[0], x[1], rounding_mode="trunc")


def _gather(x: list[Any], a: Attributes) -> Result:
    data, index = x
    axis = a.get("axis", 0) % data.ndim
    rows = data.index_select(axis, index.flatten())
    return rows.reshape(*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])


def _one_hot(x: list[Any], a: Attributes) -> Result:
    index, depth, (off, on) = x
    axis = a.get("axis", -1)
    indices = index.unsqueeze(axis)
    classes = torch.arange(int(depth), device=index.device)
    shape = [1] * indices.ndim
    shape[axis] = len(classes)
    return torch.where(indices == classes.reshape(shape), on, off)


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def reduce(x: list[Any], a: Attributes) -> Result:
        axes = x[1].tolist() if len(x) > 1 else list(range(x[0].ndim))
        return function(x[0], axes, bool(a.get("keepdims", 1)))

    return reduce


def _reshape(x: list[Any], a: Attributes) -> Result:
    shape = [x[0].shape[axis] if size == 0 else size for axis, size in enumerate(x[1].tolist())]
    return x[0].reshape(shape)


def _slice(x: list[Any], a: Attributes) -> Result:
    data, starts, ends = x[0], x[1].tolist(), x[2].tolist()
    axes = x[3].tolist() if len(x) > 3 and x[3] is not None else range(len(starts))
    steps = x[4].tolist() if len(x) > 4 else [1] * len(starts)
    index: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def _split(x: list[Any], a: Attributes) -> Result:
    axis = a.get("axis", 0)
    sizes = x[1].tolist() if len(x) > 1 else -(-x[0].shape[axis] // a["num_outputs"])
    return torch.split(x[0], sizes, axis)


def _top_k(x: list[Any], a: Attributes) -> Result:
    """Sorts equal values by index, which torch.topk does not guarantee."""
    axis = a.get("axis", -1)
    values, indices = torch.sort(x[0], dim=axis, descending=bool(a.get("largest", 1)), stable=True)
    count = int(x[1])
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


def _unsqueeze(x: list[Any], a: Attributes) -> Result:
    result = x[0]
    for axis in sorted(axis % (x[0].ndim + x[1].numel()) for axis in x[1].tolist()):
        result = result.unsqueeze(axis)
    return result


def _plain(function: Callable[..., Any]) -> Operator:
    def call(x: list[Any], a: Attributes) -> Result:
        return function(*x)

    return call


OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    # The first of equal values.
    "ArgMax": lambda x, a: torch.argmax(x[0], a.get("axis", 0), bool(a.get("keepdims", 1))),
    "Cast": lambda x, a: x[0].to(_DTYPES[a["to"]]),
    "Clip": _plain(torch.clamp),
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "CumSum": _cum_sum,
    "Div": _div,
    "Elu": lambda x, a: functional.elu(x[0], a.get("alpha", 1.0)),
    "Equal": _plain(torch.eq),
    "Exp": _plain(torch.exp),
    "Expand": _plain(lambda x, shape: x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape.tolist())))),
    "Gather": _gather,
    "GatherElements": lambda x, a: torch.gather(x[0], a.get("axis", 0), x[1]),
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "Identity": _plain(lambda x: x),
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "MatMul": _plain(torch.matmul),
    "Mul": _plain(torch.mul),
    "Not": _plain(torch.logical_not),
    "OneHot": _one_hot,
    "Or": _plain(torch.logical_or),
    "ReduceMax": _reduce(torch.amax),
    "ReduceSum": _reduce(torch.sum),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: torch.sum(x.square(), axes, keep)),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Round": _plain(torch.round),
    "ScatterElements": lambda x, a: x[0].scatter(a.get("axis", 0), x[1], x[2]),
    "Shape": lambda x, a: torch.tensor(x[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda x, a: torch.softmax(x[0], a.get("axis", -1)),
    "Split": _split,
    "Squeeze": _plain(lambda x, axes: x.squeeze(tuple(axes.tolist()))),
    "Sub": _plain(torch.sub),
    "TopK": _top_k,
    "Transpose": lambda x, a: x[0].permute(a.get("perm", list(range(x[0].ndim))[::-1])),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
