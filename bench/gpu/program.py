"""A bundle's graph as a list of PyTorch calls: functions inlined, constants folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import torch
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from latentloop.bench.gpu.onnx_operators import HOST_OPERANDS, OPERATORS, Operator

Operand = Tensor | str | None  # a constant, the name of a value, or an omitted input


@dataclass(frozen=True)
class Call:
    """One operator. ``last_uses`` are the values that no later call reads."""

    operator: Operator
    operands: tuple[Operand, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    last_uses: tuple[str, ...] = ()

    def reads(self) -> list[str]:
        """Returns the names of the values that the call reads."""
        return [operand for operand in self.operands if isinstance(operand, str)]


class Program:
    """One graph on one device. It runs without synchronising the host with the device."""

    def __init__(self, path: Path, device: str) -> None:
        """Loads a graph with its external data.

        Raises ValueError for an unknown operator, and for a host operand that depends on the inputs.
        """
        graph = onnx.inliner.inline_local_functions(onnx.load(path, load_external_data=False)).graph
        self.outputs = tuple(value.name for value in graph.output)
        self._name, self._device = path.name, device
        self._constants = {tensor.name: _to_torch(tensor, path.parent) for tensor in graph.initializer}
        self._on_device: dict[str, Tensor] = {}  # constants copied to the device
        self._shapes: set[str] = set()  # values computed on the host from shapes
        self._calls = _with_last_uses(list(self._plan(graph, path.parent)), self.outputs)
        self._results = [self._operand(name) for name in self.outputs]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the outputs by name. They can share memory with the inputs."""
        values = dict(inputs)

        def value(operand: Operand) -> Any:
            return values[operand] if isinstance(operand, str) else operand

        for call in self._calls:
            results = call.operator([value(operand) for operand in call.operands], call.attributes)
            values.update(zip(call.outputs, results if isinstance(results, tuple) else (results,), strict=False))
            for name in call.last_uses:
                del values[name]
        return {name: value(operand) for name, operand in zip(self.outputs, self._results, strict=True)}

    def _plan(self, graph: GraphProto, folder: Path) -> Iterator[Call]:
        """Yields calls in order. A node whose inputs are all constant is computed at once and becomes a constant."""
        for node in graph.node:
            attributes = _attributes(node, folder)
            if node.op_type == "Constant":
                (constant,) = attributes.values()
                self._constants[node.output[0]] = torch.from_numpy(np.array(constant))
                continue
            if node.domain or node.op_type not in OPERATORS:
                raise ValueError(f"{self._name}: operator {node.domain}::{node.op_type} is not supported")
            operator, inputs = OPERATORS[node.op_type], [name for name in node.input if name]
            if all(name in self._constants for name in inputs):
                results = operator([self._constants.get(name) for name in node.input], attributes)
                tensors = results if isinstance(results, tuple) else (results,)
                self._constants |= dict(zip(node.output, tensors, strict=False))
                continue
            is_shape = all(name in self._constants or name in self._shapes for name in inputs)
            if is_shape or node.op_type == "Shape":
                self._shapes |= set(node.output)
            on_host = range(len(node.input)) if is_shape else HOST_OPERANDS.get(node.op_type, ())
            operands = tuple(
                self._host_operand(node.op_type, name) if index in on_host else self._operand(name)
                for index, name in enumerate(node.input)
            )
            yield Call(operator, operands, tuple(node.output), attributes)

    def _operand(self, name: str) -> Operand:
        """Returns an operand on the device: a constant, or the name of a value."""
        if name in self._shapes:
            raise ValueError(f"{self._name}: {name} is a shape on the host, and is used as values on the device")
        if name in self._constants and name not in self._on_device:
            self._on_device[name] = self._constants[name].to(self._device)
        return self._on_device.get(name, name or None)

    def _host_operand(self, kind: str, name: str) -> Operand:
        if name and name not in self._constants and name not in self._shapes:
            raise ValueError(f"{self._name}: {kind} needs {name} on the host, and it depends on the inputs")
        return self._constants.get(name, name or None)


def _attributes(node: NodeProto, folder: Path) -> dict[str, Any]:
    """Returns numbers, lists, strings, and tensors as arrays."""
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name, value in values.items():
        if isinstance(value, TensorProto):
            values[name] = numpy_helper.to_array(value, str(folder))
        elif isinstance(value, bytes):
            values[name] = value.decode()
    return values


def _to_torch(tensor: TensorProto, folder: Path) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(tensor, str(folder))))


def _with_last_uses(calls: list[Call], outputs: tuple[str, ...]) -> list[Call]:
    last = {name: index for index, call in enumerate(calls) for name in (*call.reads(), *call.outputs)}
    last_uses: list[list[str]] = [[] for _ in calls]
    for name in {name for call in calls for name in call.outputs} - set(outputs):
        last_uses[last[name]].append(name)
    return [replace(call, last_uses=tuple(names)) for call, names in zip(calls, last_uses, strict=True)]
