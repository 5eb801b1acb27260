"""ONNX files without the onnx package, and their graphs as PyTorch calls: as onnx and ONNX Runtime have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from latentloop import Bundle
from latentloop.bench.gpu import onnx_files as gpu_onnx
from latentloop.bench.gpu.onnx_files import read_onnx
from latentloop.bench.gpu.program import Program

BATCH = 3


def graphs(folder: Path) -> list[Path]:
    """All that are float32 and run on a GPU: the classifier stays on the CPU."""
    found = sorted(path for path in folder.glob("*.onnx") if "int8" not in path.name and "classifier" not in path.name)
    assert len(found) >= 9
    return found


def assert_same_nodes(found: tuple[gpu_onnx.Node, ...], expected: Any) -> None:
    for node, other in zip(found, expected, strict=True):
        assert (node.domain, node.kind, node.inputs, node.outputs) == (
            other.domain,
            other.op_type,
            tuple(other.input),
            tuple(other.output),
        )
        assert node.attributes.keys() | node.references.keys() == {attribute.name for attribute in other.attribute}
        for attribute in other.attribute:
            if attribute.ref_attr_name:
                assert node.references[attribute.name] == attribute.ref_attr_name
                continue
            value = helper.get_attribute_value(attribute)
            if attribute.type == onnx.AttributeProto.TENSOR:
                np.testing.assert_array_equal(node.attributes[attribute.name], numpy_helper.to_array(value))
            else:
                assert node.attributes[attribute.name] == (value.decode() if isinstance(value, bytes) else value)


def test_reads_what_onnx_reads(small_bundle: Path) -> None:
    references = 0
    for path in graphs(small_bundle):
        found, expected = read_onnx(path), onnx.load(path)
        graph = expected.graph
        assert found.inputs == tuple(value.name for value in graph.input)
        assert found.outputs == tuple(value.name for value in graph.output)
        assert_same_nodes(found.nodes, graph.node)
        assert found.initializers.keys() == {tensor.name for tensor in graph.initializer}
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            assert found.initializers[tensor.name].dtype == array.dtype
            np.testing.assert_array_equal(found.initializers[tensor.name], array)
        assert len(found.functions) == len(expected.functions)
        for function in expected.functions:
            read = found.functions[function.domain, function.name]
            assert (read.inputs, read.outputs) == (tuple(function.input), tuple(function.output))
            assert_same_nodes(read.nodes, function.node)
            references += sum(len(node.references) for node in read.nodes)
    assert references  # an attribute that takes the place of another was among them


def test_reads_every_kind_of_attribute_and_number(tmp_path: Path) -> None:
    node = helper.make_node("Any", ["x"], ["y"], alpha=-0.5, count=-7, text="é", sizes=[3, -(2**40)])
    tensor = numpy_helper.from_array(np.array([[-1, 2**40]]), "w")
    graph = helper.make_graph([node], "g", [], [], [tensor])
    (tmp_path / "any.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    read = read_onnx(tmp_path / "any.onnx")
    assert read.nodes[0].attributes == {"alpha": -0.5, "count": -7, "text": "é", "sizes": [3, -(2**40)]}
    assert read.initializers["w"].tolist() == [[-1, 2**40]]
    node.attribute.append(helper.make_attribute("many", ["a", "b"]))
    graph = helper.make_graph([node], "g", [], [])
    (tmp_path / "any.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ValueError, match="attribute 'many' is of type 8, which no graph"):
        read_onnx(tmp_path / "any.onnx")


def feeds(session: Any, seed: int) -> dict[str, Any]:
    """Random inputs that every graph can digest."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for value in session.get_inputs():
        shape = [BATCH if isinstance(size, str) else size for size in value.shape]
        if value.name == "forced":
            found[value.name] = rng.integers(-1, 1, shape)
        elif value.type == "tensor(float)":
            found[value.name] = rng.uniform(0.1, 1, shape).astype(np.float32)
        elif value.type == "tensor(uint8)":
            found[value.name] = rng.integers(0, 256, shape, np.uint8)
        else:
            found[value.name] = rng.integers(1, 3, shape)
    return found


@pytest.mark.parametrize("bundle", ["small", "default"])
def test_computes_what_onnxruntime_computes(bundle: str, small_bundle: Path) -> None:
    for path in graphs(small_bundle if bundle == "small" else Bundle.default().path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        program = Program(path, "cpu")
        for seed in range(3):
            given = feeds(session, seed)
            found = program.run({name: torch.from_numpy(values) for name, values in given.items()})
            assert list(found) == [value.name for value in session.get_outputs()]
            for (name, values), expected in zip(found.items(), session.run(None, given), strict=True):
                assert values.numpy().dtype == expected.dtype
                error = np.abs(values.numpy().astype(np.float64) - expected).max()
                largest = max(1.0, float(np.abs(expected).max()))
                # Pixels are rounded: by one where two sums lie on either side of a half.
                bound = {"float32": 2e-6 * largest, "uint8": 1, "int64": 0}[expected.dtype.name]
                assert error <= bound, (path.name, name)


def program_of(folder: Path, *nodes: onnx.NodeProto) -> Program:
    """Of inputs x and n, with the constant ``two`` [1]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "n", "y")]
    two = numpy_helper.from_array(np.array([2]), "two")
    graph = helper.make_graph(nodes, "g", values[:2], values[2:], [two])
    path = folder / "made.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return Program(path, "cpu")


def test_nothing_waits_for_the_device(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"made.onnx: Expand needs n on the host, and it depends on the inputs"):
        program_of(tmp_path, helper.make_node("Expand", ["x", "n"], ["y"]))
    shape = helper.make_node("Shape", ["x"], ["s"])
    with pytest.raises(ValueError, match=r"made.onnx: s is a shape, and is used as values"):
        program_of(tmp_path, shape, helper.make_node("Mul", ["x", "s"], ["y"]))
    with pytest.raises(ValueError, match=r"operator ::Einsum is not known"):
        program_of(tmp_path, helper.make_node("Einsum", ["x"], ["y"], equation="i"))
    doubled = helper.make_node("Mul", ["s", "two"], ["t"])
    program = program_of(tmp_path, shape, doubled, helper.make_node("Expand", ["n", "t"], ["y"]))
    found = program.run({"x": torch.ones(2), "n": torch.tensor([5.0])})
    assert found["y"].tolist() == [5.0] * 4


def test_ties_and_edges(tmp_path: Path) -> None:
    x = torch.tensor([[3.0, 1, 3, 3]])
    four = helper.make_node("Add", ["two", "two"], ["k"])
    ranked = program_of(tmp_path, four, helper.make_node("TopK", ["x", "k"], ["v", "y"], axis=1))
    assert ranked.run({"x": x, "n": x})["y"].tolist() == [[0, 2, 3, 1]]
    last = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    assert program_of(tmp_path, last).run({"x": x, "n": x})["y"].tolist() == [0]
