"""The output stack: its operator and its function's body, compared with the same blocks in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from cpu_sessions import cpu_session
from numpy.typing import NDArray
from random_models import NATIVE

from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import FLOAT, GraphBuilder, WeightStore
from latentloop.export.graphs.prior.pointwise import output_stack
from latentloop.export.specification.rowstep_weights import Pointwise
from latentloop.kernels.library import operators

Array = NDArray[np.float64]
RNG = np.random.default_rng(11)
STAGES, CHANNELS, INNER = 3, 70, 150  # several panels of outputs, the last one not full


def random_stages() -> list[Pointwise]:
    def values(*shape: int) -> Array:
        return RNG.standard_normal(shape).astype(np.float32) / 10

    return [
        Pointwise(values(CHANNELS, INNER), values(INNER), values(INNER, 2 * CHANNELS), values(2 * CHANNELS))
        for _ in range(STAGES)
    ]


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def rounded(weight: Array) -> Array:
    unit = np.abs(weight).max(0) / np.float32(127)
    return np.asarray(np.round(weight / unit) * unit, np.float64)


def reference(
    stages: Sequence[Pointwise], x: Array, labels: Sequence[Array] | None, bits: int, *, inplace: bool
) -> Array:
    round_weight: Callable[[Array], Array] = rounded if bits == 8 else np.asarray
    for index, stage in enumerate(stages):
        inner = elu(x) @ round_weight(stage.conv1) + stage.conv1_bias
        both = elu(inner) @ round_weight(stage.conv2) + stage.conv2_bias
        a, b = np.split(both if labels is None else both + labels[index], 2, axis=1)
        x = (elu(x) if inplace else x) + a / (1 + np.exp(-b))
    return x


def write_stack(folder: Path, stages: Sequence[Pointwise], *, labels: bool, bits: int, inplace: bool = False) -> Path:
    store = WeightStore()
    g = GraphBuilder("stack", store, bits)
    x = g.input("x", FLOAT, ["batch", CHANNELS])
    terms = [g.input(f"label.{s}", FLOAT, ["batch", 2 * CHANNELS]) for s in range(len(stages)) if labels]
    out = output_stack(g, "level", x, stages, terms, inplace=inplace)
    g.output("out", out, FLOAT, ["batch", CHANNELS])
    write_graphs(folder, {"stack.onnx": g}, store)
    return folder / "stack.onnx"


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("has_labels", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_stack_equals_the_reference(
    tmp_path: Path, native: Path | None, bits: int, has_labels: bool, inplace: bool
) -> None:
    stages = random_stages()
    path = write_stack(tmp_path, stages, labels=has_labels, bits=bits, inplace=inplace)
    for threads in (1, 2, 5):
        graph = cpu_session(path, threads, native)
        for batch in (1, 3, 40):
            x = RNG.standard_normal((batch, CHANNELS)).astype(np.float32)
            labels = [RNG.standard_normal((batch, 2 * CHANNELS)).astype(np.float32) for _ in stages]
            feeds = {"x": x, **{f"label.{s}": label for s, label in enumerate(labels) if has_labels}}
            terms: list[Array] | None = [label.astype(np.float64) for label in labels] if has_labels else None
            expected = reference(stages, x.astype(np.float64), terms, bits, inplace=inplace)
            for _ in range(5):  # threads compute parts in another order each time
                np.testing.assert_allclose(graph.run(feeds)["out"], expected, atol=5e-6, rtol=5e-6)


@pytest.mark.skipif(operators() is None, reason="no library built")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda node: node.input.pop(), "inputs"),
        (lambda node: node.input.insert(1, node.input[3]), "inputs"),
        (lambda node: node.input.__setitem__(1, node.input[3]), "weight|bias"),
        (lambda node: node.input.__setitem__(4, node.input[2]), "bias"),
        (lambda node: node.input.__setitem__(slice(3, 5), node.input[1:3]), "gated block"),
        (lambda node: node.attribute.pop(), "expected the attribute"),
    ],
    ids=["a bias is missing", "one input too many", "weights swapped", "a wrong bias", "a wrong conv2", "no attribute"],
)
def test_wrong_stacks_are_refused(tmp_path: Path, change: Callable[[onnx.NodeProto], None], named: str) -> None:
    path = write_stack(tmp_path, random_stages(), labels=False, bits=32)
    model = onnx.load(path)
    del model.functions[:]  # else the body's shapes are refused first
    change(model.graph.node[0])
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    options.register_custom_ops_library(str(operators()))
    with pytest.raises(Exception, match=f"OutputStack: .*({named})"):
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
