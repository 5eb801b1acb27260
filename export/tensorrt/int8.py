"""Weights of 8 bits: the rounding in a bundle's graphs is replaced by integers with their scales.

A graph computes ``Round(weight / unit) * unit``, with one unit, the scale, per output.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from latentloop.errors import BundleError
from latentloop.export.tensorrt.constant_folding import run_node
from latentloop.export.tensorrt.inlined_graph import Constant, InlinedGraph


def quantize(graph: InlinedGraph) -> None:
    """Replaces every rounding of a weight by DequantizeLinear of its integers.

    DequantizeLinear accepts a scale along the last axis only. Any other scale, such as [1, L, 1, O], multiplies the
    products instead.
    """
    producers, readers = graph.producers(), graph.readers()
    replaced: dict[tuple[str, tuple[int, ...]], tuple[str, str | None]] = {}  # several functions can round one weight
    for node in [node for node in graph.nodes if node.op_type == "Mul"]:
        rounding = producers.get(node.input[0])
        division = producers.get(rounding.input[0]) if rounding is not None and rounding.op_type == "Round" else None
        if division is None or division.op_type != "Div" or division.input[1] != node.input[1]:
            continue
        if division.input[0] not in graph.constants:
            continue
        weight, unit = division.input[0], _evaluate(graph, producers, division.input[1])
        if (weight, unit.shape) not in replaced:
            replaced[weight, unit.shape] = _dequantized(graph, weight, unit, graph.nodes.index(node))
        dequantized, scale = replaced[weight, unit.shape]
        for reader, index in readers[node.output[0]]:
            reader.input[index] = dequantized
            if scale is not None:
                _multiply_result(graph, reader, index, scale)
    graph.prune()
    _join_products(graph)


def _dequantized(graph: InlinedGraph, weight: str, unit: np.ndarray, index: int) -> tuple[str, str | None]:
    """Adds the integers, and the node at ``index``; returns its output, and a scale for the products or None."""
    integers, scale, name = f"{weight}.int8", f"{weight}.unit", f"{weight}.dequantized"
    graph.constants[integers] = Constant.of(np.round(graph.constants[weight].values / unit).astype(np.int8))
    of_last_axis = unit.size == unit.shape[-1]
    graph.constants[scale] = Constant.of(unit.reshape(-1) if of_last_axis else unit)
    if of_last_axis:
        graph.nodes.insert(index, helper.make_node("DequantizeLinear", [integers, scale], [name], axis=unit.ndim - 1))
        return name, None
    one = f"{weight}.one"
    graph.constants[one] = Constant.of(np.array(1, np.float32))
    graph.nodes.insert(index, helper.make_node("DequantizeLinear", [integers, one], [name]))
    return name, scale


def _multiply_result(graph: InlinedGraph, product: NodeProto, index: int, scale: str) -> None:
    """Multiplies the result of a product by the scale of its right-hand side, its input ``index``."""
    result = product.output[0]
    if product.op_type != "MatMul" or index != 1 or graph.constants[scale].values.shape[-2] != 1:
        raise BundleError(f"{graph.name}: the rounded weight of {result!r} is not the right-hand side of a product")
    unscaled = f"{result}.unscaled"
    product.output[0] = unscaled
    graph.nodes.insert(graph.nodes.index(product) + 1, helper.make_node("Mul", [unscaled, scale], [result]))


def _join_products(graph: InlinedGraph) -> None:
    """Joins products of one value with several 8-bit weights to one.

    TensorRT for RTX 1.7 crashes when it joins them itself.
    """
    producers = graph.producers()
    groups: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        weight = producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.op_type == "DequantizeLinear" and weight.attribute:
            groups.setdefault(node.input[0], []).append(node)
    for factor, products in groups.items():
        if len(products) < 2:
            continue
        weights = [producers[product.input[1]] for product in products]
        name = "+".join(weight.output[0] for weight in weights)
        first = graph.nodes.index(products[0])
        joined, sizes = f"{products[0].output[0]}.joined", f"{name}.sizes"
        # Other products can have joined the same weights already.
        nodes = [] if sizes in graph.constants else [_joined_weights(graph, weights, name)]
        outputs = [product.output[0] for product in products]
        nodes.append(helper.make_node("MatMul", [factor, name], [joined]))
        nodes.append(helper.make_node("Split", [joined, sizes], outputs, axis=-1))
        graph.nodes[first:first] = nodes
        for product in products:
            graph.nodes.remove(product)
    graph.prune()


def _joined_weights(graph: InlinedGraph, weights: list[NodeProto], name: str) -> NodeProto:
    """Returns the node ``name`` of the concatenated integers; the constant ``name.sizes`` has the weights' widths."""
    integers, scales = ([graph.constants[weight.input[index]].values for weight in weights] for index in (0, 1))
    graph.constants[f"{name}.int8"] = Constant.of(np.concatenate(integers, axis=-1))
    graph.constants[f"{name}.unit"] = Constant.of(np.concatenate(scales))
    graph.constants[f"{name}.sizes"] = Constant.of(np.array([scale.size for scale in scales], np.int64))
    return helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.unit"], [name], axis=integers[0].ndim - 1)


def _evaluate(graph: InlinedGraph, producers: dict[str, NodeProto], name: str) -> np.ndarray:
    """Returns a value that depends on constants alone. Raises BundleError if it depends on an input."""
    if name in graph.constants:
        return graph.constants[name].values
    if name not in producers:
        raise BundleError(f"{graph.name}: {name!r} must be constant when the engine is built, but it is an input")
    node = producers[name]
    results = run_node(node, [_evaluate(graph, producers, value) for value in node.input])
    return results[list(node.output).index(name)]
