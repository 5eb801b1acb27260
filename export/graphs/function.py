"""Model-local functions: what an operator of this project's domain computes, in standard operators.

Where the native library is registered its kernel runs instead; everywhere else ONNX Runtime puts the body in the
place of the node. ``latentloop.export.specification.rowstep`` says in float64 what both must equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import AttributeProto, helper, numpy_helper

from latentloop.export.graphs.builder import OPERATORS, OPSET, GraphBuilder
from latentloop.export.graphs.nodes import Constant, Nodes, as_constant


def operator_name(kind: str, *, inplace: bool) -> str:
    """The operator that computes ``kind`` for such a prior. The name tells: a library that knows one form only must not
    run it in the place of the other.
    """
    return f"{kind}Inplace" if inplace else kind


class Function(Nodes):
    """The body of one operator; its inputs and outputs are known by name."""

    def __init__(self, kind: str, inputs: Sequence[str], bits: int | None = None) -> None:
        """``bits`` of a weight: 32, or 8 for weights that are rounded so; None for an operator without such weights."""
        super().__init__()
        self.kind, self.bits = kind, bits
        self.inputs = list(inputs)
        self.attributes: list[str] = []

    def constant(self, value: Constant) -> str:
        """A node: a function has no initializers."""
        return self.op("Constant", value=numpy_helper.from_array(as_constant(value)))

    def attribute(self, name: str) -> str:
        """The operator's integer attribute ``name``, as a scalar."""
        if name not in self.attributes:
            self.attributes.append(name)
        made = self.op("Constant")
        self.nodes[-1].attribute.append(
            AttributeProto(name="value_int", ref_attr_name=name, type=AttributeProto.AttributeType.INT)
        )
        return made

    def weight(self, name: str, axes: Sequence[int] = (0,)) -> str:
        """The weight ``name``, rounded to ``bits`` with one scale for each output; sums run over ``axes``."""
        if self.bits is None or self.bits == 32:
            return name
        largest = self.op("ReduceMax", self.op("Abs", name), self.constant(list(axes)), keepdims=1)
        unit = self.op("Max", self.op("Div", largest, self.constant(2.0 ** (self.bits - 1) - 1)), self.constant(1e-30))
        return self.op("Mul", self.op("Round", self.op("Div", name, unit)), unit)

    def weight_matrix(self, name: str) -> str:
        """The matrix [I, O] of that name, rounded."""
        return self.weight(name)

    def column(self, x: str) -> str:
        """x [n, ...] at the operator's attribute ``column``, without that axis."""
        return self.op("Gather", x, self.attribute("column"), axis=0)

    def call(self, g: GraphBuilder, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> list[str]:
        """Defines the function in ``g``, and adds a node that computes it; returns its outputs.

        ``attributes`` beyond those that the body reads are for the native operator.
        """
        if self.bits is not None:
            attributes["bits"] = self.bits
        names = sorted({*self.attributes, *attributes})
        opsets = [helper.make_opsetid("", OPSET)]
        body = helper.make_function(OPERATORS, self.kind, self.inputs, list(outputs), self.nodes, opsets, names)
        g.define(body)
        given: dict[str, Any] = {"domain": OPERATORS, **attributes}
        return g.split_op(self.kind, len(outputs), *inputs, **given)
