"""Rewriting of a bundle's graphs for engines. The graphs of one prior are rewritten together: they share buffers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.codec import Tensor
from latentloop.bundles.manifest import Binding, GraphFile, Prior, StateBuffer
from latentloop.engines.engine_set import NARROW, engine_file, graph_precision, view_tensor
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
) -> tuple[Prior, dict[str, InlinedGraph]]:
    """Returns a prior's part of an engine set's manifest, and its graphs at a precision by role.

    Engines are named ``level.role.plan``. ``weights``: the bundle's weights file, memory-mapped. Raises BundleError.
    """
    # 1. Read the graphs, bind them, and fold their constants.
    prior = prior.at(graph_precision(precision))
    buffers = {buffer.name: buffer for buffer in prior.memories}
    graphs = {role: read_graph(folder / file.file, weights) for role, file in prior.graphs.items()}
    bound = {role: _bind(graph, prior.graphs[role], buffers) for role, graph in graphs.items()}
    for graph in graphs.values():
        if precision == "int8":
            quantize(graph)
        fold_constants(graph)

    # 2. Reduce products and buffers to 16 bits.
    if precision in NARROW:
        reduced = reduced_buffers([(graph, bound[role]) for role, graph in graphs.items()])
        buffers |= {name: replace(buffers[name], dtype=precision) for name in reduced}
        for role, graph in graphs.items():
            sides = (bound[role].inputs, bound[role].outputs)
            to_mixed_precision(graph, precision, *({b.name for b in side if b.memory in reduced} for side in sides))

    # 3. Leave out buffers that no graph is bound to any more.
    before, after = (
        {binding.memory for file in files.values() for binding in (*file.inputs, *file.outputs)}
        for files in (prior.graphs, bound)
    )
    described = replace(
        prior,
        memories=tuple(buffer for buffer in buffers.values() if buffer.name in after or buffer.name not in before),
        graphs={role: engine_file(f"{level}.{role}.plan", file, buffers) for role, file in bound.items()},
    )
    return described, graphs


def _bind(graph: InlinedGraph, file: GraphFile, buffers: dict[str, StateBuffer]) -> GraphFile:
    """Gives the graph the static shapes of its bindings, and returns these as the bindings of an engine.

    Inputs that the graph does not read are left out, and outputs that return an input unchanged. Raises BundleError if
    the graph's inputs, outputs or shapes are not those of ``file``.
    """
    engine = engine_file(file.file, file, buffers)
    sides = {"inputs": (graph.inputs, engine.inputs), "outputs": (graph.outputs, engine.outputs)}
    for kind, (tensors, bindings) in sides.items():
        differing = {binding.name for binding in bindings} ^ set(tensors)
        if differing:
            raise BundleError(f"{file.file}: {kind} of graph and manifest differ: {sorted(differing)}")
        for binding in bindings:
            tensors[binding.name] = _static(tensors[binding.name], binding, buffers[binding.memory], file.file)
    inputs_by_name = {binding.name: binding for binding in engine.inputs}
    producers = graph.producers()

    def is_unchanged(output: Binding) -> bool:
        producer = producers[output.name]
        source = inputs_by_name.get(producer.input[0]) if producer.op_type == "Identity" else None
        return source is not None and replace(source, name=output.name) == output

    outputs = tuple(output for output in engine.outputs if not is_unchanged(output))
    graph.outputs = {binding.name: graph.outputs[binding.name] for binding in outputs}
    graph.prune()
    readers = graph.readers()
    inputs = tuple(binding for binding in engine.inputs if binding.name in readers)
    graph.inputs = {binding.name: graph.inputs[binding.name] for binding in inputs}
    return GraphFile(file.file, inputs, outputs)


def _static(tensor: Tensor, binding: Binding, buffer: StateBuffer, file: str) -> Tensor:
    """Returns the tensor with the shape of its binding's view, in which the length of the history is static. Raises
    BundleError if the graph's shape differs from it elsewhere.
    """
    view = view_tensor(binding, buffer)
    agree = len(view.shape) == len(tensor.shape) and all(
        in_graph in (in_buffer, "finished") for in_buffer, in_graph in zip(view.shape, tensor.shape, strict=True)
    )
    if not agree or tensor.dtype != view.dtype:
        raise BundleError(
            f"{file}: {binding.name!r} is {tensor.dtype} {list(tensor.shape)}, but its view of {binding.memory!r} is "
            f"{view.dtype} {list(view.shape)}: export the bundle again"
        )
    return view
