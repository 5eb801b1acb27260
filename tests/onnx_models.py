"""Small random classifiers in ONNX, made node by node, with all their variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latentloop.export.bundle.classifier_check import run_attached
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, attach
from latentloop.export.onnx_classifiers.model import read_onnx
from latentloop.export.onnx_classifiers.settings import PRESETS, ClassifierSettings

CLASSES = ("coat", "bag", "boot")
IMAGE = (8, 12, 3)
UNIT = PRESETS["unit"]
FLOAT = TensorProto.FLOAT
OTHERS: dict[str, tuple[int, list[Any]]] = {
    "mean": (FLOAT, ["n", "m", 1, 1]),
    "shape_of": (TensorProto.INT64, [2]),
}  # types of outputs that are not rows


def small_model(
    *,
    classes: int = 3,
    channels: int = 3,
    size: Sequence[int | str] = (12, 10),
    layout: str = "NCHW",
    batch: int | str = "batch",
    last: str | None = None,
    dtype: int = FLOAT,
    opset: int = 17,
    extra: Sequence[onnx.NodeProto] = (),
    outputs: Sequence[str] = ("logits",),
    seed: int = 0,
) -> onnx.ModelProto:
    """A convolution, ReLU, the means over the image (``pooled``) and a linear layer.

    ``last``: an operator after the logits, whose result is then the only output. ``extra``: nodes at the end.
    ``outputs``: names of values.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "kernel": rng.normal(0, 0.3, (300, channels, 3, 3)),
        "linear": rng.normal(0, 0.15, (classes, 300)),
        "bias": rng.normal(0, 0.3, classes),
    }
    nodes = [helper.make_node("Cast", ["pixels"], ["float"], to=FLOAT)]
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["float"], ["channels_first"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node("Conv", [nodes[-1].output[0], "kernel"], ["convolved"], strides=[2, 2]),
        helper.make_node("Relu", ["convolved"], ["activated"]),
        helper.make_node("GlobalAveragePool", ["activated"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["pooled"]),
        helper.make_node("Gemm", ["pooled", "linear", "bias"], ["logits"], transB=1),
    ]
    if last is not None:
        nodes.append(helper.make_node(last, ["logits"], ["last"]))
        outputs = ("last",)
    shape = [batch, channels, *size] if layout == "NCHW" else [batch, *size, channels]
    graph = helper.make_graph(
        [*nodes, *extra],
        "judge",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info(name, *OTHERS.get(name, (FLOAT, ["n", "m"]))) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 19 else 10)


def fixed_model(batch: int, **options: Any) -> onnx.ModelProto:
    """A ``small_model`` with a node that works for batches of this size only."""
    model = small_model(batch=batch, **options)
    model.graph.node[-2].CopyFrom(helper.make_node("Reshape", ["mean", "shape"], ["pooled"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([batch, 300]), "shape"))
    return model


def save(path: Path, model: onnx.ModelProto, **options: Any) -> Path:
    """Writes a model; ``options`` of ``onnx.save`` can put its weights into another file."""
    onnx.save(model, path, **options)
    return path


def noise(n: int, shape: tuple[int, int, int], seed: int = 1) -> NDArray[np.uint8]:
    """Images [n, H, W, C] of noise, each with colours of its own."""
    rng = np.random.default_rng(seed)
    brightest = rng.integers(2, 257, (n, 1, 1, shape[2]))
    return rng.integers(0, brightest, (n, *shape)).astype(np.uint8)


def attached(
    folder: Path,
    model: onnx.ModelProto | None = None,
    stated: ClassifierSettings = UNIT,
    image: tuple[int, int, int] = IMAGE,
    classes: tuple[str, ...] = CLASSES,
) -> AttachedClassifier:
    """Returns a model, written into ``folder``, as a classifier for a bundle, after the checks of an export."""
    file = save(folder / "judge.onnx", model or small_model())
    return run_attached(attach(read_onnx(file), stated, image, classes))
