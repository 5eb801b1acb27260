"""A bundle's graph as a list of PyTorch calls: functions written out, what depends on constants alone computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloop.bench.gpu.onnx_files import Model, Node, read_onnx
from latentloop.bench.gpu.onnx_operators import HOST, OPERATORS, Operator

Operand = Tensor | str | None  # a constant, the name of a value, or nothing


@dataclass(frozen=True)
class Call:
    """One operator. ``ends`` are the values that nobody reads afterwards."""

    operator: Operator
    operands: tuple[Operand, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    ends: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The values that it reads."""
        return [operand for operand in self.operands if isinstance(operand, str)]


class Program:
    """One graph on one device. Nothing waits for the device while it runs."""

    def __init__(self, path: Path, device: str) -> None:
        """Raises ValueError for an operator that is not known, and for a host's operand that lies on the device."""
        model = read_onnx(path)
        self.outputs = model.outputs
        self._name, self._device = path.name, device
        self._constants: dict[str, Tensor] = {
            name: torch.from_numpy(np.array(value)) for name, value in model.initializers.items()
        }
        self._placed: dict[str, Tensor] = {}  # constants on the device
        self._shapes: set[str] = set()  # other values that lie on the host
        self._calls = _with_ends(list(self._plan(model)), model.outputs)
        self._results = [self._value(name) for name in model.outputs]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name; they may share memory with the inputs."""
        values = dict(inputs)

        def value(operand: Operand) -> Any:
            return values[operand] if isinstance(operand, str) else operand

        for call in self._calls:
            found = call.operator([value(operand) for operand in call.operands], call.attributes)
            values.update(zip(call.outputs, found if isinstance(found, tuple) else (found,), strict=False))
            for name in call.ends:
                del values[name]
        return {name: value(operand) for name, operand in zip(self.outputs, self._results, strict=True)}

    def _plan(self, model: Model) -> Iterator[Call]:
        """Calls in order. What follows from constants alone is computed at once, and becomes one."""
        for node in _written_out(model):
            if node.kind == "Constant":
                (constant,) = node.attributes.values()
                self._constants[node.outputs[0]] = torch.from_numpy(np.array(constant))
                continue
            if node.domain or node.kind not in OPERATORS:
                raise ValueError(f"{self._name}: operator {node.domain}::{node.kind} is not known")
            operator, given = OPERATORS[node.kind], [name for name in node.inputs if name]
            if all(name in self._constants for name in given):
                found = operator([self._constants.get(name) for name in node.inputs], node.attributes)
                results = found if isinstance(found, tuple) else (found,)
                self._constants |= dict(zip(node.outputs, results, strict=False))
                continue
            is_shape = all(name in self._constants or name in self._shapes for name in given)
            if is_shape or node.kind == "Shape":
                self._shapes |= set(node.outputs)
            operands = (
                self._host_value(node.kind, name) if is_shape or n in HOST.get(node.kind, ()) else self._value(name)
                for n, name in enumerate(node.inputs)
            )
            yield Call(operator, tuple(operands), node.outputs, node.attributes)

    def _value(self, name: str) -> Operand:
        """On the device."""
        if name in self._shapes:
            raise ValueError(f"{self._name}: {name} is a shape, and is used as values")
        if name in self._constants and name not in self._placed:
            self._placed[name] = self._constants[name].to(self._device)
        return self._placed.get(name, name or None)

    def _host_value(self, kind: str, name: str) -> Operand:
        if name and name not in self._constants and name not in self._shapes:
            raise ValueError(f"{self._name}: {kind} needs {name} on the host, and it depends on the inputs")
        return self._constants.get(name, name or None)


def _with_ends(calls: list[Call], outputs: tuple[str, ...]) -> list[Call]:
    last = {name: place for place, call in enumerate(calls) for name in (*call.names(), *call.outputs)}
    ends: list[list[str]] = [[] for _ in calls]
    for name in {name for call in calls for name in call.outputs} - set(outputs):
        ends[last[name]].append(name)
    return [replace(call, ends=tuple(names)) for call, names in zip(calls, ends, strict=True)]


def _written_out(model: Model) -> Iterator[Node]:
    """The graph's nodes, with bodies in place of calls of functions."""
    count = 0

    def body(nodes: tuple[Node, ...], names: dict[str, str], prefix: str, given: dict[str, Any]) -> Iterator[Node]:
        nonlocal count

        def named(name: str) -> str:
            return names.get(name, prefix + name if name else "")

        for node in nodes:
            attributes = {**node.attributes, **{name: given[outer] for name, outer in node.references.items()}}
            inputs, outputs = (tuple(map(named, part)) for part in (node.inputs, node.outputs))
            function = model.functions.get((node.domain, node.kind))
            if function is None:
                yield replace(node, inputs=inputs, outputs=outputs, attributes=attributes, references={})
                continue
            count += 1
            inside = dict(zip(function.inputs, inputs, strict=False)) | dict(
                zip(function.outputs, outputs, strict=False)
            )
            inside |= {name: "" for name in function.inputs[len(inputs) :]}
            yield from body(function.nodes, inside, f"{count}.", attributes)

    return body(model.nodes, {}, "", {})
