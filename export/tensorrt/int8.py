"""Weights of 8 bits: what a graph rounds when it is loaded is rounded here, and stored as integers with their scales.

A graph says ``Round(weight / unit) * unit``, where the unit is one scale for each output.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from latentloop.errors import BundleError
from latentloop.export.tensorrt.folding import run_node
from latentloop.export.tensorrt.inlined_graph import Constant, Graph


def quantize(graph: Graph) -> None:
    """Replaces every rounding of a weight by DequantizeLinear of its integers.

    A scale that belongs to the last axis alone is the node's. The node takes no other, such as [1, L, 1, O], which
    multiplies the products instead.
    """
    makers, readers = graph.makers(), graph.readers()
    known: dict[tuple[str, tuple[int, ...]], tuple[str, str | None]] = {}  # several functions may round one weight
    for node in [node for node in graph.nodes if node.op_type == "Mul"]:
        rounding = makers.get(node.input[0])
        division = makers.get(rounding.input[0]) if rounding is not None and rounding.op_type == "Round" else None
        if division is None or division.op_type != "Div" or division.input[1] != node.input[1]:
            continue
        if division.input[0] not in graph.constants:
            continue
        weight, unit = division.input[0], _evaluate(graph, makers, division.input[1])
        if (weight, unit.shape) not in known:
            known[weight, unit.shape] = _dequantized(graph, weight, unit, graph.nodes.index(node))
        dequantized, scale = known[weight, unit.shape]
        for reader, place in readers[node.output[0]]:
            reader.input[place] = dequantized
            if scale is not None:
                _multiply_result(graph, reader, place, scale)
    graph.prune()
    _join_products(graph)


def _dequantized(graph: Graph, weight: str, unit: np.ndarray, place: int) -> tuple[str, str | None]:
    """Adds the integers and the node, ``place`` nodes from the start: its output, and the scale that is still to be
    multiplied, if any.
    """
    integers, scale, name = f"{weight}.int8", f"{weight}.unit", f"{weight}.dequantized"
    graph.constants[integers] = Constant.of(np.round(graph.constants[weight].values / unit).astype(np.int8))
    of_last_axis = unit.size == unit.shape[-1]
    graph.constants[scale] = Constant.of(unit.reshape(-1) if of_last_axis else unit)
    if of_last_axis:
        graph.nodes.insert(place, helper.make_node("DequantizeLinear", [integers, scale], [name], axis=unit.ndim - 1))
        return name, None
    one = f"{weight}.one"
    graph.constants[one] = Constant.of(np.array(1, np.float32))
    graph.nodes.insert(place, helper.make_node("DequantizeLinear", [integers, one], [name]))
    return name, scale


def _multiply_result(graph: Graph, product: NodeProto, place: int, scale: str) -> None:
    """The product's readers get it times the scale of its right-hand side."""
    result = product.output[0]
    if product.op_type != "MatMul" or place != 1 or graph.constants[scale].values.shape[-2] != 1:
        raise BundleError(f"{graph.name}: the rounded weight of {result!r} is no right-hand side of a product")
    unscaled = f"{result}.unscaled"
    product.output[0] = unscaled
    graph.nodes.insert(graph.nodes.index(product) + 1, helper.make_node("Mul", [unscaled, scale], [result]))


def _join_products(graph: Graph) -> None:
    """Products of one value by several such weights become one: TensorRT for RTX 1.7 crashes where it joins them."""
    makers = graph.makers()
    groups: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        weight = makers.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.op_type == "DequantizeLinear" and weight.attribute:
            groups.setdefault(node.input[0], []).append(node)
    joined: set[str] = set()
    for factor, products in groups.items():
        if len(products) < 2:
            continue
        weights = [makers[product.input[1]] for product in products]
        name = "+".join(weight.output[0] for weight in weights)
        place = graph.nodes.index(products[0])
        added = []
        if name not in joined:
            joined.add(name)
            added.append(_joined_weights(graph, weights, name))
        together = f"{products[0].output[0]}.joined"
        added.append(helper.make_node("MatMul", [factor, name], [together]))
        outputs = [product.output[0] for product in products]
        added.append(helper.make_node("Split", [together, f"{name}.sizes"], outputs, axis=-1))
        graph.nodes[place:place] = added
        for product in products:
            graph.nodes.remove(product)
    graph.prune()


def _joined_weights(graph: Graph, weights: list[NodeProto], name: str) -> NodeProto:
    """The node ``name``, of the weights' integers side by side; constant ``name.sizes`` says how wide each is."""
    integers, scales = ([graph.constants[weight.input[place]].values for weight in weights] for place in (0, 1))
    graph.constants[f"{name}.int8"] = Constant.of(np.concatenate(integers, axis=-1))
    graph.constants[f"{name}.unit"] = Constant.of(np.concatenate(scales))
    graph.constants[f"{name}.sizes"] = Constant.of(np.array([scale.size for scale in scales], np.int64))
    return helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.unit"], [name], axis=integers[0].ndim - 1)


def _evaluate(graph: Graph, makers: dict[str, NodeProto], name: str) -> np.ndarray:
    """The value of what depends on constants alone."""
    if name in graph.constants:
        return graph.constants[name].values
    if name not in makers:
        raise BundleError(f"{graph.name}: {name!r} must be known when the engine is built, but it is an input")
    node = makers[name]
    results = run_node(node, [_evaluate(graph, makers, value) for value in node.input])
    return results[list(node.output).index(name)]
