"""Rewriting of a bundle's graphs for engines. The graphs of one prior are rewritten together: they share buffers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Binding, GraphFile, Prior, StateBuffer
from latentloop.engines.engine_set import (
    NARROW,
    EngineBinding,
    EngineFile,
    EnginePrior,
    Tensor,
    engine_binding,
    graph_precision,
)
from latentloop.errors import BundleError
from latentloop.export.tensorrt.buffer_precision import reduced_buffers
from latentloop.export.tensorrt.constant_folding import fold_constants
from latentloop.export.tensorrt.inlined_graph import InlinedGraph, read_graph
from latentloop.export.tensorrt.int8 import quantize
from latentloop.export.tensorrt.mixed_precision import to_mixed_precision

Bytes = NDArray[np.uint8]


def rewrite_codec(path: Path, weights: Bytes, precision: str) -> InlinedGraph:
    """Returns the encoder's or decoder's graph at a precision; int8 does not change it.

    ``weights``: the bundle's weights file, memory-mapped. Raises BundleError.
    """
    graph = read_graph(path, weights)
    fold_constants(graph)
    if precision in NARROW:
        to_mixed_precision(graph, precision, (), ())
    return graph


def rewrite_prior(
    folder: Path, level: str, prior: Prior, weights: Bytes, precision: str
) -> tuple[EnginePrior, dict[str, InlinedGraph]]:
    """Returns a prior's part of an engine set's manifest, and its graphs at a precision by role.

    Engines are named ``level.role.plan``. ``weights``: the bundle's weights file, memory-mapped. Raises BundleError.
    """
    # 1. Read the graphs, and fold their constants.
    prior = prior.at(graph_precision(precision))
    buffers = {buffer.name: buffer for buffer in prior.memories}
    graphs = {
        role: _bound_graph(read_graph(folder / file.file, weights), file, buffers)
        for role, file in prior.graphs.items()
    }
    for bound_graph in graphs.values():
        if precision == "int8":
            quantize(bound_graph.graph)
        fold_constants(bound_graph.graph)

    # 2. Reduce products and buffers to 16 bits.
    if precision in NARROW:
        reduced = reduced_buffers([(g.graph, g.inputs, g.outputs) for g in graphs.values()])
        buffers |= {name: replace(buffers[name], dtype=precision) for name in reduced}
        for bound_graph in graphs.values():
            bound_graph.reduce(precision, reduced)

    # 3. Leave out buffers that no graph is bound to any more.
    before = {binding.memory for file in prior.graphs.values() for binding in _bindings(file)}
    after = {binding.memory for bound_graph in graphs.values() for binding in bound_graph.bindings()}
    described = EnginePrior(
        prior.condition_level,
        prior.classes,
        prior.columns_per_step,
        tuple(buffer for buffer in buffers.values() if buffer.name in after or buffer.name not in before),
        {role: bound_graph.described(f"{level}.{role}.plan") for role, bound_graph in graphs.items()},
    )
    return described, {role: bound_graph.graph for role, bound_graph in graphs.items()}


class BoundGraph:
    """A graph with the bindings of its inputs and outputs.

    Inputs that it does not read are left out, and outputs that return an input unchanged.
    """

    def __init__(self, graph: InlinedGraph, inputs: list[EngineBinding], outputs: list[EngineBinding]) -> None:
        self.graph = graph
        inputs_by_name = {binding.name: binding for binding in inputs}
        producers = graph.producers()

        def is_unchanged(output: EngineBinding) -> bool:
            producer = producers[output.name]
            source = inputs_by_name.get(producer.input[0]) if producer.op_type == "Identity" else None
            return source is not None and replace(source, name=output.name) == output

        self.outputs = [output for output in outputs if not is_unchanged(output)]
        graph.outputs = {binding.name: _tensor(binding) for binding in self.outputs}
        graph.prune()
        readers = graph.readers()
        self.inputs = [binding for binding in inputs if binding.name in readers]
        graph.inputs = {binding.name: _tensor(binding) for binding in self.inputs}

    def bindings(self) -> tuple[EngineBinding, ...]:
        """Returns the bindings of inputs and outputs."""
        return (*self.inputs, *self.outputs)

    def reduce(self, dtype: str, buffers: set[str]) -> None:
        """Reduces products and ``buffers`` to the 16-bit type ``dtype``."""
        inputs, outputs = ({b.name for b in side if b.memory in buffers} for side in (self.inputs, self.outputs))
        to_mixed_precision(self.graph, dtype, inputs, outputs)
        self.inputs, self.outputs = (
            [replace(b, dtype=dtype) if b.memory in buffers else b for b in side]
            for side in (self.inputs, self.outputs)
        )

    def described(self, file: str) -> EngineFile:
        """Returns the engine's part of the manifest."""
        return EngineFile(file, tuple(self.inputs), tuple(self.outputs))


def _bound_graph(graph: InlinedGraph, file: GraphFile, buffers: dict[str, StateBuffer]) -> BoundGraph:
    """Binds a graph, with the static shapes of its bindings. Raises BundleError if the graph's shapes are different."""
    sides = []
    for kind, tensors, bindings in (
        ("inputs", graph.inputs, file.inputs),
        ("outputs", graph.outputs, file.outputs),
    ):
        differing = {binding.name for binding in bindings} ^ set(tensors)
        if differing:
            raise BundleError(f"{file.file}: {kind} of graph and manifest differ: {sorted(differing)}")
        sides.append([engine_binding(binding, buffers[binding.memory]) for binding in bindings])
        for binding in sides[-1]:
            _check(binding, tensors[binding.name], file.file)
    return BoundGraph(graph, *sides)


def _check(binding: EngineBinding, tensor: Tensor, file: str) -> None:
    """Raises BundleError if a graph's shape is not the binding's; only the length of the history can be dynamic."""
    agree = len(binding.shape) == len(tensor.shape) and all(
        in_graph in (in_buffer, "finished") for in_buffer, in_graph in zip(binding.shape, tensor.shape, strict=True)
    )
    if not agree or tensor.dtype != binding.dtype:
        raise BundleError(
            f"{file}: {binding.name!r} is {tensor.dtype} {list(tensor.shape)}, but its view of {binding.memory!r} is "
            f"{binding.dtype} {list(binding.shape)}: export the bundle again"
        )


def _bindings(file: GraphFile) -> tuple[Binding, ...]:
    return (*file.inputs, *file.outputs)


def _tensor(binding: EngineBinding) -> Tensor:
    return Tensor(binding.name, binding.dtype, binding.shape)
