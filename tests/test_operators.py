"""The native operators in ONNX Runtime: they run, and reject invalid attributes, shapes and weights."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from random_models import LIBRARY

Array = np.ndarray[Any, np.dtype[Any]]

needs_library = pytest.mark.skipif(LIBRARY is None, reason="no library built")
RNG = np.random.default_rng(0)


def values(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Node:
    """One operator: its inputs by name, the names of those that are constants, and its attributes."""

    inputs: dict[str, Array]
    constants: frozenset[str]
    attributes: dict[str, int]
    outputs: tuple[int, ...] = (TensorProto.FLOAT,)  # element types

    def session(self, kind: str) -> onnxruntime.InferenceSession:
        """Returns a session whose graph is this node, an operator of type ``kind``."""
        types = {name: (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for name, x in self.inputs.items()}
        outputs = [helper.make_tensor_value_info(f"out.{i}", dtype, None) for i, dtype in enumerate(self.outputs)]
        attributes: dict[str, Any] = {"domain": "latentloop", **self.attributes}
        node = helper.make_node(kind, list(self.inputs), [output.name for output in outputs], **attributes)
        graph = helper.make_graph(
            [node],
            "graph",
            [helper.make_tensor_value_info(name, *types[name]) for name in types if name not in self.constants],
            outputs,
            [numpy_helper.from_array(self.inputs[name], name) for name in self.constants],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("latentloop", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 2
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.register_custom_ops_library(str(LIBRARY))
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, session: onnxruntime.InferenceSession) -> list[Array]:
        feeds = {name: value for name, value in self.inputs.items() if name not in self.constants}
        outputs: list[Array] = session.run(None, feeds)
        return outputs


def attention(own: int = 0) -> Node:
    """A block of one layer: 2 samples, 3 channels, 2 heads of width 2, 5 columns. It computes column ``own``."""
    inputs = {
        "x": values(2, 3),
        "gated": values(own + 1, own + 1, 2, 3),
        "background": values(own + 1, 2, 2),
        "history_mask": np.array([-1e30, 0], np.float32).reshape(2, 1, 1, 1, 1),
        "keys": values(2, 2, 2, 2, 5),
        "values": values(2, 2, 2, 5, 2),
        "row_keys": values(5, 2, 4),
        "row_values": values(5, 2, 4),
        "column": np.array([[3]], np.float32),
    }
    if own:
        inputs |= {"own_keys": values(own, 2, 4), "own_values": values(own, 2, 4)}
    variable = set(inputs)
    for part, width, other in (("key", 8, 0), ("query", 5, 0), ("out", 3, 4)):
        inputs |= {f"{part}.conv1": values(width, 6), f"{part}.conv1_bias": values(6)}
        if other:
            inputs[f"{part}.auxiliary"] = values(other, 6)
        inputs |= {f"{part}.conv2": values(6, 2 * width), f"{part}.conv2_bias": values(2 * width)}
    for part, width in (("query", 5), ("key", 8), ("value", 8)):
        inputs |= {f"{part}_map": values(width, 4), f"{part}_map_bias": values(4)}
    attributes = {"bits": 32, "column": own, "first_layer": own, "layers": 1, "labels": 0}
    return Node(inputs, frozenset(inputs.keys() - variable), attributes, (TensorProto.FLOAT,) * 4)


LEFT = Node(
    {"x": values(3, 2, 1, 5), "above": values(2, 2, 1, 60), "weight": values(2, 2, 5, 60)},
    frozenset({"weight"}),
    {"bits": 32},
)
ROWS = {"row.0": values(7, 2, 1, 3), "row.1": values(7, 2, 1, 3)}
ABOVE = Node(
    {**ROWS, "bias": values(2, 4), "weight.0": values(18, 4), "weight.1": values(18, 4)},
    frozenset({"bias", "weight.0", "weight.1"}),
    {"bits": 32, "kernel": 3},
)
PAIRS = Node(
    {
        **{f"row.{row}": values(9, 1, 1, 3) for row in range(4)},
        "bias": values(1, 4),
        "partial": values(5, 1, 1, 4),
        "row": np.zeros(1, np.float32),
        "weight": values(60, 4),
    },
    frozenset({"bias", "weight"}),
    {"bits": 32, "kernel": 5},
    (TensorProto.FLOAT,) * 2,
)
MIX = Node(
    {
        "x": values(2, 4),
        "gated": values(1, 2, 2, 4),
        "mix_above": values(1, 2, 1, 4),
        "weight.0": values(4, 4),
        "weight.1": values(4, 4),
    },
    frozenset({"weight.0", "weight.1"}),
    {"bits": 32, "column": 0},
    (TensorProto.FLOAT,) * 2,
)
DRAW = Node(
    {
        "x": values(2, 4),
        "weight": values(4, 7),
        "bias": values(7),
        "uniform": np.zeros((1, 2), np.float32),
        "temperature": np.ones(2, np.float32),
        "forced": np.full((1, 2), -1, np.int64),
    },
    frozenset({"weight", "bias"}),
    {"bits": 32, "column": 0},
    (TensorProto.INT64, TensorProto.FLOAT),
)
NEAREST = Node(
    {"z": values(2, 5, 3), "codebook": values(7, 5)},
    frozenset({"codebook"}),
    {"channels_first": 1},
    (TensorProto.INT64,),
)
NODES = {
    "CausalLeftElu": LEFT,
    "CausalLeftGated": LEFT,
    "CausalAbove": ABOVE,
    "CausalAbovePairs": PAIRS,
    "MixChain": MIX,
    "AttentionBlock": attention(),
    "AttentionBlockAfter1": attention(1),
    "MixChainInplace": MIX,
    "AttentionBlockInplace": attention(),
    "AttentionBlockInplaceAfter1": attention(1),
    "DrawCode": DRAW,
    "NearestCodebook": NEAREST,
}


def refusal(kind: str, node: Node) -> str:
    """Returns the error text of the operator, from its creation or its run."""
    with pytest.raises(Exception, match=f"{kind}: ") as caught:
        node.run(node.session(kind))
    return str(caught.value)


def with_inputs(node: Node, **inputs: Array) -> Node:
    return Node({**node.inputs, **inputs}, node.constants, node.attributes, node.outputs)


def with_attributes(node: Node, **attributes: int) -> Node:
    return Node(node.inputs, node.constants, {**node.attributes, **attributes}, node.outputs)


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_operators_run_alone(kind: str) -> None:
    node = NODES[kind]
    assert all(np.isfinite(out).all() for out in node.run(node.session(kind)))


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_weights_must_be_constant(kind: str) -> None:
    node = NODES[kind]
    for name in node.constants:
        others = node.constants - {name}
        index = list(node.inputs).index(name)
        message = refusal(kind, Node(node.inputs, others, node.attributes, node.outputs))
        assert f"input {index} must be a constant weight" in message


@needs_library
@pytest.mark.parametrize("kind", NODES)
def test_attributes_are_required(kind: str) -> None:
    node = NODES[kind]
    for name in node.attributes:
        rest = {key: value for key, value in node.attributes.items() if key != name}
        assert name in refusal(kind, Node(node.inputs, node.constants, rest, node.outputs)).partition(f"{kind}: ")[2]


@needs_library
@pytest.mark.parametrize(
    ("kind", "node", "reason"),
    [
        ("CausalLeftElu", with_attributes(LEFT, bits=16), "bits must be 8 or 32"),
        ("CausalAbove", with_attributes(ABOVE, kernel=4), "kernel must be odd, 3 to 31"),
        ("CausalAbovePairs", with_attributes(PAIRS, kernel=3), "pairs of rows need a kernel of 5"),
        ("MixChain", with_attributes(MIX, column=1), "gated has the shape [1, 2, 2, 4]"),
        ("DrawCode", with_attributes(DRAW, column=1), "uniform or forced has the shape [1, 2]"),
        ("AttentionBlock", with_attributes(attention(), first_layer=1), "gated has the shape [1, 1, 2, 3]"),
        ("AttentionBlock", with_attributes(attention(), labels=1), "found 28 inputs, expected 31"),
        ("NearestCodebook", with_attributes(NEAREST, channels_first=2), "channels_first must be 0 or 1"),
    ],
)
def test_invalid_attributes_are_rejected(kind: str, node: Node, reason: str) -> None:
    assert reason in refusal(kind, node)


@needs_library
@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("CausalLeftElu", {"weight": (2, 5, 60)}),
        ("CausalLeftElu", {"x": (3, 2, 1, 4)}),
        ("CausalLeftElu", {"x": (2, 2, 1, 5)}),
        ("CausalLeftElu", {"above": (2, 2, 1, 59)}),
        ("CausalLeftElu", {"above": (0, 2, 1, 60), "x": (1, 2, 1, 5)}),
        ("CausalLeftGated", {"weight": (2, 2, 5, 59)}),
        ("CausalLeftGated", {"x": (3, 2, 2, 5)}),
        ("CausalAbove", {"bias": (1, 4)}),
        ("CausalAbove", {"weight.1": (18, 5)}),
        ("CausalAbove", {"weight.1": (36, 4)}),
        ("CausalAbove", {"weight.0": (17, 4)}),
        ("CausalAbove", {"row.0": (2, 2, 1, 3), "row.1": (2, 2, 1, 3)}),
        ("CausalAbove", {"row.1": (8, 2, 1, 3)}),
        ("CausalAbovePairs", {"partial": (4, 1, 1, 4)}),
        ("CausalAbovePairs", {"row": (2,)}),
        ("MixChain", {"x": (2, 5)}),
        ("MixChain", {"gated": (1, 3, 2, 4)}),
        ("MixChain", {"mix_above": (1, 1, 1, 4)}),
        ("MixChain", {"weight.1": (4, 5)}),
        ("AttentionBlock", {"x": (2, 4)}),
        ("AttentionBlock", {"background": (1, 2, 3)}),
        ("AttentionBlock", {"history_mask": (2, 1, 1, 1)}),
        ("AttentionBlock", {"history_mask": (3, 1, 1, 1, 1)}),
        ("AttentionBlock", {"keys": (2, 2, 1, 2, 5)}),
        ("AttentionBlock", {"keys": (0, 2, 2, 2, 5)}),
        ("AttentionBlock", {"values": (1, 2, 2, 5, 2)}),
        ("AttentionBlock", {"row_keys": (6, 2, 4)}),
        ("AttentionBlock", {"row_values": (5, 1, 4)}),
        ("AttentionBlock", {"column": (1,)}),
        ("AttentionBlockAfter1", {"own_keys": (2, 2, 4)}),
        ("AttentionBlockAfter1", {"own_values": (1, 1, 4)}),
        ("AttentionBlock", {"key.conv2": (6, 15), "key.conv2_bias": (15,)}),
        ("DrawCode", {"x": (2, 5)}),
        ("DrawCode", {"weight": (4, 0), "bias": (0,)}),
        ("DrawCode", {"bias": (6,)}),
        ("DrawCode", {"temperature": (1,)}),
        ("DrawCode", {"uniform": (1, 3)}),
        ("NearestCodebook", {"z": (2, 3, 5)}),
        ("NearestCodebook", {"z": (5,)}),
        ("NearestCodebook", {"codebook": (0, 5)}),
        ("NearestCodebook", {"codebook": (7, 513)}),
        ("NearestCodebook", {"codebook": (5,)}),
    ],
)
def test_invalid_shapes_are_rejected(kind: str, inputs: dict[str, tuple[int, ...]]) -> None:
    node = NODES[kind]
    changed = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    message = refusal(kind, with_inputs(node, **changed))
    assert "has the shape [" in message


@needs_library
@pytest.mark.parametrize("column", [-1, 5, np.nan])
def test_columns_outside_the_row_are_rejected(column: float) -> None:
    node = with_inputs(attention(), column=np.array([[column]], np.float32))
    assert "AttentionBlock: column " in refusal("AttentionBlock", node)


@needs_library
@pytest.mark.parametrize(
    ("kind", "name"),
    [("MixChain", "column"), ("DrawCode", "column"), ("AttentionBlock", "column"), ("AttentionBlock", "first_layer")],
)
def test_negative_attributes_are_rejected(kind: str, name: str) -> None:
    assert name in refusal(kind, with_attributes(NODES[kind], **{name: -1})).partition(f"{kind}: ")[2]


@needs_library
def test_shared_weights_outlive_the_first_session() -> None:
    for kind, node in NODES.items():
        first, second = node.session(kind), node.session(kind)  # each registers the library
        expected = node.run(first)
        del first
        gc.collect()
        for output, expected_output in zip(node.run(second), expected, strict=True):
            np.testing.assert_array_equal(output, expected_output)


@needs_library
def test_the_instruction_set_is_selected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators share packed weights: kernels of another instruction set would need another panel size."""
    first = LEFT.session("CausalLeftElu")
    monkeypatch.setenv("LATENTLOOP_INSTRUCTION_SET", "portable")
    second = LEFT.session("CausalLeftElu")
    np.testing.assert_allclose(LEFT.run(second)[0], LEFT.run(first)[0], rtol=1e-5, atol=1e-5)
