"""A bundle's graphs for engines: those of a prior are rewritten together, since they share memories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Binding, GraphFile, Prior, StateBuffer
from latentloop.engines.engine_set import NARROW, EngineBinding, EngineFile, EnginePrior, Tensor, bound, graph_precision
from latentloop.errors import BundleError
from latentloop.export.tensorrt.folding import fold
from latentloop.export.tensorrt.inlined_graph import Graph, read_graph
from latentloop.export.tensorrt.int8 import quantize
from latentloop.export.tensorrt.narrow_memories import narrow_memories
from latentloop.export.tensorrt.narrow_products import narrow_products

Bytes = NDArray[np.uint8]


def codec_graph(path: Path, weights: Bytes, precision: str) -> Graph:
    """The encoder's or decoder's graph at a precision; int8 does not touch it."""
    graph = read_graph(path, weights)
    fold(graph)
    if precision in NARROW:
        narrow_products(graph, precision, (), ())
    return graph


def prior_graphs(
    folder: Path, level: str, prior: Prior, weights: Bytes, precision: str
) -> tuple[EnginePrior, dict[str, Graph]]:
    """A prior's graphs at a precision by role, and what describes them: engines are named ``level.role.plan``."""
    prior = prior.at(graph_precision(precision))
    memories = {memory.name: memory for memory in prior.memories}
    graphs = {
        role: _bound_graph(read_graph(folder / described.file, weights), described, memories)
        for role, described in prior.graphs.items()
    }
    for bound_graph in graphs.values():
        if precision == "int8":
            quantize(bound_graph.graph)
        fold(bound_graph.graph)
    if precision in NARROW:
        narrow = narrow_memories([(g.graph, g.inputs, g.outputs) for g in graphs.values()])
        memories |= {name: replace(memories[name], dtype=precision) for name in narrow}
        for bound_graph in graphs.values():
            bound_graph.narrow(precision, narrow)
    before = {binding.memory for described in prior.graphs.values() for binding in _bindings(described)}
    after = {binding.memory for bound_graph in graphs.values() for binding in bound_graph.bindings()}
    described = EnginePrior(
        prior.condition_level,
        prior.classes,
        prior.columns_per_step,
        tuple(memory for memory in memories.values() if memory.name in after or memory.name not in before),
        {role: found.described(f"{level}.{role}.plan") for role, found in graphs.items()},
    )
    return described, {role: found.graph for role, found in graphs.items()}


class BoundGraph:
    """A graph with the bindings of its inputs and outputs; what it does not read or only passes on is left out."""

    def __init__(self, graph: Graph, inputs: list[EngineBinding], outputs: list[EngineBinding]) -> None:
        self.graph = graph
        read_from = {binding.name: binding for binding in inputs}
        makers = graph.makers()

        def is_passed_on(output: EngineBinding) -> bool:
            maker = makers[output.name]
            source = read_from.get(maker.input[0]) if maker.op_type == "Identity" else None
            return source is not None and replace(source, name=output.name) == output

        self.outputs = [output for output in outputs if not is_passed_on(output)]
        graph.outputs = {binding.name: _tensor(binding) for binding in self.outputs}
        graph.prune()
        read = graph.readers()
        self.inputs = [binding for binding in inputs if binding.name in read]
        graph.inputs = {binding.name: _tensor(binding) for binding in self.inputs}

    def bindings(self) -> tuple[EngineBinding, ...]:
        """Of inputs and outputs."""
        return (*self.inputs, *self.outputs)

    def narrow(self, dtype: str, memories: set[str]) -> None:
        """Makes products, and the given memories, of 16 bits."""
        inputs, outputs = ({b.name for b in side if b.memory in memories} for side in (self.inputs, self.outputs))
        narrow_products(self.graph, dtype, inputs, outputs)
        self.inputs, self.outputs = (
            [replace(b, dtype=dtype) if b.memory in memories else b for b in side]
            for side in (self.inputs, self.outputs)
        )

    def described(self, file: str) -> EngineFile:
        """For the manifest."""
        return EngineFile(file, tuple(self.inputs), tuple(self.outputs))


def _bound_graph(graph: Graph, described: GraphFile, memories: dict[str, StateBuffer]) -> BoundGraph:
    """With the static shapes of its bindings. Raises BundleError where they are not the graph's."""
    sides = []
    for kind, tensors, bindings in (
        ("inputs", graph.inputs, described.inputs),
        ("outputs", graph.outputs, described.outputs),
    ):
        differing = {binding.name for binding in bindings} ^ set(tensors)
        if differing:
            raise BundleError(f"{described.file}: {kind} of graph and manifest differ: {sorted(differing)}")
        sides.append([bound(binding, memories[binding.memory]) for binding in bindings])
        for binding in sides[-1]:
            _check(binding, tensors[binding.name], described.file)
    return BoundGraph(graph, *sides)


def _check(binding: EngineBinding, tensor: Tensor, file: str) -> None:
    """A graph's sizes are the binding's; it may leave the history's open."""
    agree = len(binding.shape) == len(tensor.shape) and all(
        of_graph in (of_memory, "finished") for of_memory, of_graph in zip(binding.shape, tensor.shape, strict=True)
    )
    if not agree or tensor.dtype != binding.dtype:
        raise BundleError(
            f"{file}: {binding.name!r} is {tensor.dtype} {list(tensor.shape)}, but its view of {binding.memory!r} is "
            f"{binding.dtype} {list(binding.shape)}: export the bundle again"
        )


def _bindings(described: GraphFile) -> tuple[Binding, ...]:
    return (*described.inputs, *described.outputs)


def _tensor(binding: EngineBinding) -> Tensor:
    return Tensor(binding.name, binding.dtype, binding.shape)
