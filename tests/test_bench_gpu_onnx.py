"""A bundle's graphs as PyTorch calls, compared with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from latentloop import Bundle
from latentloop.bench.gpu.program import Program

BATCH = 3


def graphs(folder: Path) -> list[Path]:
    """Returns the float32 graphs that run on a GPU; the classifier always runs on the CPU."""
    paths = sorted(path for path in folder.glob("*.onnx") if "int8" not in path.name and "classifier" not in path.name)
    assert len(paths) >= 9
    return paths


def feeds(session: Any, seed: int) -> dict[str, Any]:
    """Returns random inputs that are valid for every graph."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Any] = {}
    for value in session.get_inputs():
        shape = [BATCH if isinstance(size, str) else size for size in value.shape]
        if value.name == "forced":
            inputs[value.name] = rng.integers(-1, 1, shape)
        elif value.type == "tensor(float)":
            inputs[value.name] = rng.uniform(0.1, 1, shape).astype(np.float32)
        elif value.type == "tensor(uint8)":
            inputs[value.name] = rng.integers(0, 256, shape, np.uint8)
        else:
            inputs[value.name] = rng.integers(1, 3, shape)
    return inputs


@pytest.mark.parametrize("bundle", ["small", "default"])
def test_computes_what_onnxruntime_computes(bundle: str, small_bundle: Path) -> None:
    for path in graphs(small_bundle if bundle == "small" else Bundle.default().path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        program = Program(path, "cpu")
        for seed in range(3):
            inputs = feeds(session, seed)
            outputs = program.run({name: torch.from_numpy(values) for name, values in inputs.items()})
            assert list(outputs) == [value.name for value in session.get_outputs()]
            for (name, values), expected in zip(outputs.items(), session.run(None, inputs), strict=True):
                assert values.numpy().dtype == expected.dtype
                error = np.abs(values.numpy().astype(np.float64) - expected).max()
                largest = max(1.0, float(np.abs(expected).max()))
                # Pixels are rounded: they differ by one if two sums are on different sides of a half.
                bound = {"float32": 2e-6 * largest, "uint8": 1, "int64": 0}[expected.dtype.name]
                assert error <= bound, (path.name, name)


def program_of(folder: Path, *nodes: NodeProto) -> Program:
    """Returns a program with inputs x and n, output y, and the constant ``two`` [1]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "n", "y")]
    two = numpy_helper.from_array(np.array([2]), "two")
    graph = helper.make_graph(nodes, "g", values[:2], values[2:], [two])
    path = folder / "graph.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return Program(path, "cpu")


def test_operands_on_the_host_do_not_depend_on_inputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"graph.onnx: Expand needs n on the host, and it depends on the inputs"):
        program_of(tmp_path, helper.make_node("Expand", ["x", "n"], ["y"]))
    shape = helper.make_node("Shape", ["x"], ["s"])
    with pytest.raises(ValueError, match=r"graph.onnx: s is a shape on the host, and is used as values on the device"):
        program_of(tmp_path, shape, helper.make_node("Mul", ["x", "s"], ["y"]))
    with pytest.raises(ValueError, match=r"operator ::Einsum is not supported"):
        program_of(tmp_path, helper.make_node("Einsum", ["x"], ["y"], equation="i"))
    doubled = helper.make_node("Mul", ["s", "two"], ["t"])
    program = program_of(tmp_path, shape, doubled, helper.make_node("Expand", ["n", "t"], ["y"]))
    outputs = program.run({"x": torch.ones(2), "n": torch.tensor([5.0])})
    assert outputs["y"].tolist() == [5.0] * 4


def test_ties_go_to_the_lowest_index(tmp_path: Path) -> None:
    x = torch.tensor([[3.0, 1, 3, 3]])
    four = helper.make_node("Add", ["two", "two"], ["k"])
    ranked = program_of(tmp_path, four, helper.make_node("TopK", ["x", "k"], ["v", "y"], axis=1))
    assert ranked.run({"x": x, "n": x})["y"].tolist() == [[0, 2, 3, 1]]
    largest = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    assert program_of(tmp_path, largest).run({"x": x, "n": x})["y"].tolist() == [0]
