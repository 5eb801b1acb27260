"""The operator of a whole step: it equals the operators that it joins, and rejects what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from exported_priors import exported
from random_models import LIBRARY, PRIORS, random_inputs
from test_graphs import level_inputs, make_loop, sessions

from latentloop.draws.draw_settings import DrawSettings
from latentloop.export.graphs.builder import OPERATORS

Array = np.ndarray[Any, np.dtype[Any]]

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no library built")
SIZES = {"batch": 2, "finished": 3}  # of dynamic axes


def separate_operators(file: Path) -> None:
    """Replaces the operator of a step by those that it joins, as bundles had them before it existed."""
    model = onnx.load(file, load_external_data=False)
    whole = next(function.name for function in model.functions if function.name.startswith("PriorStep"))
    inlined = onnx.inliner.inline_selected_functions(model, [(OPERATORS, whole)])
    assert {node.op_type for node in inlined.graph.node} >= {"CausalLeftElu", "DrawCode"}
    assert whole not in {node.op_type for node in inlined.graph.node}
    onnx.save(inlined, file)


@pytest.mark.parametrize("settings", [{"temperature": 0.8}, {"top_k": 5, "top_p": 0.9, "min_p": 0.02}], ids=str)
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_operators_that_it_joins(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    config, batch = PRIORS[name], 3
    prior = exported(config, tmp_path)
    shape = (config.height, config.width, batch)
    inputs = level_inputs(
        config,
        random_inputs(config, batch),
        uniform=np.random.default_rng(3).integers(2**24, size=shape).astype(np.float32) / np.float32(2**24),
        forced=np.full(shape, -1),
        settings=DrawSettings.of(batch, **settings).arrays(config.codebook_size),
    )
    results = []
    for is_separate in (False, True):
        for file in tmp_path.glob("*step*.onnx") if is_separate else ():
            separate_operators(file)
        loop = make_loop(config, prior, sessions(tmp_path), batch)
        rows = [(row.codes.copy(), row.logits.copy()) for row in loop.rows(inputs)]
        results.append([np.stack(values) for values in zip(*rows, strict=True)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


class Step:
    """The step of a prior as a graph that declares no shapes, so that only the operator checks them."""

    def __init__(self, name: str, folder: Path, role: str = "step_filtered") -> None:
        exported(PRIORS[name], folder)
        self.folder = folder
        self.model = onnx.load(folder / f"level.{role}.onnx", load_external_data=False)
        rng = np.random.default_rng(0)
        self.inputs: dict[str, Array] = {}
        for value in self.model.graph.input:
            tensor = value.type.tensor_type
            shape = [d.dim_value or SIZES[d.dim_param] for d in tensor.shape.dim]
            is_integer = tensor.elem_type == onnx.TensorProto.INT64
            self.inputs[value.name] = np.zeros(shape, np.int64) if is_integer else rng.random(shape, np.float32)
        for value in (*self.model.graph.input, *self.model.graph.output):
            value.type.tensor_type.ClearField("shape")
        self.model.ClearField("functions")

    @property
    def node(self) -> onnx.NodeProto:
        node: onnx.NodeProto = self.model.graph.node[0]
        return node

    def run(self) -> list[Array]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(str(LIBRARY))
        path = self.folder / "changed.onnx"
        onnx.save(self.model, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        results: list[Array] = session.run(None, self.inputs)
        return results

    def refusal(self) -> str:
        with pytest.raises(Exception, match="PriorStep: ") as caught:
            self.run()
        return str(caught.value).partition("PriorStep: ")[2]


NAMES = ("top-k7-classes", "bottom-k7", "middle-attention-k5")


@pytest.mark.parametrize("name", NAMES)
def test_runs_alone(name: str, tmp_path: Path) -> None:
    assert all(np.isfinite(out).all() for out in Step(name, tmp_path).run())


@pytest.mark.parametrize("name", NAMES)
def test_rejects_every_wrong_shape_and_type(name: str, tmp_path: Path) -> None:
    for changed in Step(name, tmp_path).inputs:
        for axis in range(Step(name, tmp_path).inputs[changed].ndim):
            step = Step(name, tmp_path)
            x = step.inputs[changed]
            step.inputs[changed] = np.concatenate([x, x.take([0], axis)], axis)
            assert "has the shape [" in step.refusal(), (changed, axis)
        step = Step(name, tmp_path)
        other = np.int64 if step.inputs[changed].dtype == np.float32 else np.float32
        step.inputs[changed] = step.inputs[changed].astype(other)
        value = next(value for value in step.model.graph.input if value.name == changed)
        value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(other))
        assert "has the element type" in step.refusal(), changed


@pytest.mark.parametrize("name", NAMES)
def test_needs_every_attribute_and_constant_weights(name: str, tmp_path: Path) -> None:
    for attribute in [attribute.name for attribute in Step(name, tmp_path).node.attribute]:
        step = Step(name, tmp_path)
        step.node.attribute.remove(next(each for each in step.node.attribute if each.name == attribute))
        assert f"expected the attribute {attribute}, 0 or more" in step.refusal()
    for index, weight in enumerate(Step(name, tmp_path).node.input):
        step = Step(name, tmp_path)
        if weight in step.inputs:
            continue
        tensor = next(each for each in step.model.graph.initializer if each.name == weight)
        step.model.graph.initializer.remove(tensor)
        step.model.graph.input.append(onnx.helper.make_tensor_value_info(weight, onnx.TensorProto.FLOAT, tensor.dims))
        step.inputs[weight] = np.zeros(tensor.dims, np.float32)
        assert f"input {index} must be a constant weight" in step.refusal()


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("kernel", 4, "kernel must be odd, 3 to 31"),
        ("kernel", 33, "kernel must be odd, 3 to 31"),
        ("columns", 3, "columns must be 1 or 2"),
        ("blocks", 0, "blocks and layers must be at least 1"),
        ("layers", 0, "blocks and layers must be at least 1"),
        ("layers", 5, "a causal weight has the shape"),
        ("stages", 9, "inputs, expected"),
        ("heads", 5, "a block's key map has the shape"),
        ("bits", 16, "bits must be 8 or 32"),
    ],
)
def test_rejects_attributes_that_do_not_fit(attribute: str, value: int, reason: str, tmp_path: Path) -> None:
    step = Step("top-k7-classes", tmp_path)
    next(each for each in step.node.attribute if each.name == attribute).i = value
    assert reason in step.refusal()


@pytest.mark.parametrize("name", ["codes", "forced"])
def test_rejects_codes_that_do_not_exist(name: str, tmp_path: Path) -> None:
    step = Step("middle-attention-k5", tmp_path)
    assert {each.name: each.i for each in step.node.attribute}["columns"] == 2
    step.inputs[name][0, 1] = 10**12
    assert "a code is below 0 or above the codebook's size" in step.refusal()


@pytest.mark.parametrize("column", [-1, 5, 10**12])
def test_rejects_columns_outside_the_row(column: int, tmp_path: Path) -> None:
    step = Step("middle-attention-k5", tmp_path)
    step.inputs["column"] = np.array([[column]])
    assert f"column is {column}, expected 0 or more and below the width 6" in step.refusal()
