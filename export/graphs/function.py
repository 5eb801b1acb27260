"""Model-local functions: operators of this project's ONNX domain, defined in standard operators.

If the native library is registered, ONNX Runtime runs its kernel; otherwise it replaces the node by the function's
body. ``latentloop.export.specification.rowstep`` is the float64 reference of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import AttributeProto, helper, numpy_helper

from latentloop.export.graphs.builder import OPERATORS, OPSET, GraphBuilder
from latentloop.export.graphs.nodes import Constant, NodeBuilder, as_constant


def operator_name(kind: str, *, inplace: bool) -> str:
    """Returns the operator's name for a variant of a prior.

    The variants have different names, so that a library of an earlier release, which knows only one, does not run its
    kernel for the other.
    """
    return f"{kind}Inplace" if inplace else kind


class Function(NodeBuilder):
    """Builds the body of one operator; values are strings, their names."""

    def __init__(self, kind: str, inputs: Sequence[str], bits: int | None = None) -> None:
        """``bits``: width of the rounded weights, 32 or 8; None for an operator without weights that can be rounded."""
        super().__init__()
        self.kind, self.bits = kind, bits
        self.inputs = list(inputs)
        self.attributes: list[str] = []

    def constant(self, value: Constant) -> str:
        """Adds a constant as a node, because a function has no initializers."""
        return self.op("Constant", value=numpy_helper.from_array(as_constant(value)))

    def attribute(self, name: str) -> str:
        """Returns the operator's integer attribute ``name`` as a scalar."""
        if name not in self.attributes:
            self.attributes.append(name)
        value = self.op("Constant")
        self.nodes[-1].attribute.append(
            AttributeProto(name="value_int", ref_attr_name=name, type=AttributeProto.AttributeType.INT)
        )
        return value

    def weight(self, name: str, axes: Sequence[int] = (0,)) -> str:
        """Returns the weight ``name``, rounded to ``bits`` with one scale per output.

        ``axes``: those that the product sums over, by default those of a matrix [I, O].
        """
        if self.bits is None or self.bits == 32:
            return name
        largest = self.op("ReduceMax", self.op("Abs", name), self.constant(list(axes)), keepdims=1)
        unit = self.op("Max", self.op("Div", largest, self.constant(2.0 ** (self.bits - 1) - 1)), self.constant(1e-30))
        return self.op("Mul", self.op("Round", self.op("Div", name, unit)), unit)

    def column(self, x: str) -> str:
        """Returns x[column], for the operator's attribute ``column`` and x [n, ...]."""
        return self.op("Gather", x, self.attribute("column"), axis=0)

    def call(self, g: GraphBuilder, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> list[str]:
        """Defines the function in ``g``, adds a node that calls it, and returns the node's outputs.

        ``attributes`` that the body does not read are for the native operator.
        """
        if self.bits is not None:
            attributes["bits"] = self.bits
        names = sorted({*self.attributes, *attributes})
        opsets = [helper.make_opsetid("", OPSET)]
        body = helper.make_function(OPERATORS, self.kind, self.inputs, list(outputs), self.nodes, opsets, names)
        g.define(body)
        node_attributes: dict[str, Any] = {"domain": OPERATORS, **attributes}
        return g.split_op(self.kind, len(outputs), *inputs, **node_attributes)
