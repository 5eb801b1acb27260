"""ONNX files without the ``onnx`` package, as far as a bundle's graphs use them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.gpu.protobuf import messages, number, numbers, text, texts

Array = NDArray[Any]

_TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}  # of TensorProto


@dataclass(frozen=True)
class Node:
    """One node. An attribute of the node around may stand in for its own: ``references`` says which, by name."""

    domain: str
    kind: str
    inputs: tuple[str, ...]  # "" for one that is left out
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    references: dict[str, str]


@dataclass(frozen=True)
class Function:
    """A model-local function: its body in nodes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Model:
    """A graph, and its functions by (domain, kind)."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    initializers: dict[str, Array]
    functions: dict[tuple[str, str], Function]


def read_onnx(path: Path) -> Model:
    """The model in a file; its external data are maps of the files that lie beside it."""
    model = path.read_bytes()
    (graph,) = messages(model, 7)
    functions = {}
    for data in messages(model, 25):
        nodes = tuple(_node(node, path.parent) for node in messages(data, 7))
        functions[text(data, 10), text(data, 1)] = Function(texts(data, 4), texts(data, 5), nodes)
    return Model(
        inputs=tuple(text(value, 1) for value in messages(graph, 11)),
        outputs=tuple(text(value, 1) for value in messages(graph, 12)),
        nodes=tuple(_node(node, path.parent) for node in messages(graph, 1)),
        initializers={text(tensor, 8): _tensor(tensor, path.parent) for tensor in messages(graph, 5)},
        functions=functions,
    )


def _node(data: bytes, folder: Path) -> Node:
    attributes, references = {}, {}
    for attribute in messages(data, 5):
        name, outer = text(attribute, 1), text(attribute, 21)
        if outer:
            references[name] = outer
        else:
            attributes[name] = _attribute(attribute, folder)
    return Node(text(data, 7), text(data, 4), texts(data, 1), texts(data, 2), attributes, references)


def _attribute(data: bytes, folder: Path) -> Any:
    """A number, text, tensor, or list of integers, as the attribute's type (field 20) says."""
    kind = number(data, 20)
    if kind == 1:
        return struct.unpack("<f", messages(data, 2)[0])[0]
    if kind == 2:
        return number(data, 3)
    if kind == 3:
        return text(data, 4)
    if kind == 4:
        return _tensor(messages(data, 5)[0], folder)
    if kind == 7:
        return numbers(data, 8)
    raise ValueError(f"attribute {text(data, 1)!r} is of type {kind}, which no graph of a bundle uses")


def _tensor(data: bytes, folder: Path) -> Array:
    shape, dtype = numbers(data, 1), np.dtype(_TYPES[number(data, 2)])
    external = {text(entry, 1): text(entry, 2) for entry in messages(data, 13)}
    if external:
        path, count = folder / external["location"], int(external["length"]) // dtype.itemsize
        return np.memmap(path, dtype, "r", int(external["offset"]), (count,)).reshape(shape)
    (raw,) = messages(data, 9) or [b""]
    return np.frombuffer(raw, dtype).reshape(shape)
