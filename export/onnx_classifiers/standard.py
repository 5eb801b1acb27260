"""An ONNX model as one graph of standard operators with dynamic batch, in the opsets that every runtime here runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import inliner, version_converter

from latentloop.errors import CheckpointError, listed
from latentloop.export.graphs.builder import OPSET
from latentloop.export.onnx_classifiers.model import OnnxModel, one_line

OLDEST, NEWEST = 13, 21  # opsets kept as they are: operators around the model mean the same; ONNX Runtime 1.20 runs 21
STANDARD = ("", "ai.onnx")
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def standard_model(model: OnnxModel) -> tuple[onnx.GraphProto, int]:
    """Returns the graph, without functions, and its opset.

    Raises CheckpointError for operators of other domains, sparse weights, random results, and an opset that cannot be
    converted.
    """
    path, proto = model.path, model.proto
    try:
        if proto.functions:
            proto = inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:  # of several types
        raise CheckpointError(
            f"{path}: its functions cannot be inlined: {one_line(error)}; export it without functions"
        ) from error
    _check_operators(path, proto.graph)
    opset = next((each.version for each in proto.opset_import if each.domain in STANDARD), 1)
    if OLDEST <= opset <= NEWEST:
        return proto.graph, opset
    target = OPSET if opset < OLDEST else NEWEST
    only = onnx.ModelProto()
    only.CopyFrom(proto)
    del only.opset_import[:]
    only.opset_import.append(onnx.helper.make_opsetid("", opset))
    try:
        return version_converter.convert_version(only, target).graph, target
    except Exception as error:  # of several types
        raise CheckpointError(
            f"{path}: its opset is {opset}, expected {OLDEST} to {NEWEST}, and it cannot be converted: "
            f"{one_line(error)}; export it with one of these (torch.onnx.export: opset_version={OPSET})"
        ) from error


def _check_operators(path: Path, graph: onnx.GraphProto) -> None:
    graphs = [*_graphs(graph)]
    if any(each.sparse_initializer for each in graphs):
        raise CheckpointError(f"{path}: it has sparse weights, expected dense ones: export it with these")
    nodes = [node for each in graphs for node in each.node]
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in STANDARD})
    if foreign:
        raise CheckpointError(
            f"{path}: it uses the operators {listed(foreign)}, expected those of the ONNX standard: export it before a "
            "runtime optimises it, or with standard operators"
        )
    if drawn := sorted({node.op_type for node in nodes if node.op_type in RANDOM}):
        raise CheckpointError(
            f"{path}: it draws random numbers ({listed(drawn)}): export it for inference (model.eval())"
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yields a graph and all graphs inside it."""
    yield graph
    for node in graph.node:
        for inner in graphs_inside(node):
            yield from _graphs(inner)


def graphs_inside(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Returns the graphs that a node has as attributes."""
    return [
        graph
        for attribute in node.attribute
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
    ]


def add_prefix(graph: onnx.GraphProto, prefix: str) -> None:
    """Puts a prefix before the names of all nodes and values, also of inner graphs, and removes what only describes
    them.
    """
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = prefix + value.name
    del graph.value_info[:]
    for node in graph.node:
        node.name = node.name and prefix + node.name
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.input[:] = [name and prefix + name for name in node.input]
        node.output[:] = [name and prefix + name for name in node.output]
        for inner in graphs_inside(node):
            add_prefix(inner, prefix)
