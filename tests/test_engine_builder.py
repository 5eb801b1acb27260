"""Building one engine with the simulated TensorRT: what the plan permits, and the errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_module import tensorrt_module as simulated
from fake_gpu.tensorrt_plan import read_plan
from onnx import TensorProto, helper

from latentloop.backends.gpu import tensorrt_module
from latentloop.bundles.codec import Tensor
from latentloop.engines.engine_set import Profile
from latentloop.errors import BundleError, MissingError
from latentloop.export.tensorrt import builder as builder_module
from latentloop.export.tensorrt.builder import Plan, TensorRtBuilder, open_builder
from latentloop.kernels.driver import MissingGpuError

X, ROW = Tensor("x", "float16", (3, "batch", 4)), Tensor("row", "int64", (1,))
Y = Tensor("y", "float32", (1, "batch", 4))
PROFILES = (Profile(1, 1, 1), Profile(1, 4, 8))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """An ONNX file: y = x[row] as float32."""
    nodes = [
        helper.make_node("Gather", ["x", "row"], ["of_row"], "the row", axis=0),
        helper.make_node("Cast", ["of_row"], ["y"], "the cast", to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT16, X.shape),
        helper.make_tensor_value_info("row", TensorProto.INT64, ROW.shape),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, Y.shape)]
    path = tmp_path / "row.onnx"
    made = helper.make_graph(nodes, "row", inputs, outputs)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def build(graph: Path, library: str = "tensorrt", architecture: str = "sm90", **changes: Any) -> Plan:
    module = simulated(FakeDriver() if library == "tensorrt" else None, library)
    arguments = {"inputs": (X, ROW), "outputs": (Y,), "profiles": PROFILES, **changes}
    return TensorRtBuilder(module).build(graph, architecture=architecture, **arguments)


def test_a_plan_permits_the_batches_of_its_profiles_and_neither_tf32_nor_lost_nans(graph: Path) -> None:
    """The simulated TensorRT builds only strongly typed networks; its default is TF32 without strict NaNs."""
    plan = read_plan(build(graph).data)
    assert plan is not None
    assert plan.profiles == [{"x": [[3, 1, 4]] * 3}, {"x": [[3, 1, 4], [3, 4, 4], [3, 8, 4]]}]
    assert plan.flags == ["STRICT_NANS"]
    assert plan.architectures == ["sm90"]


def test_times_of_kernels_are_added_to_those_of_earlier_builds(graph: Path) -> None:
    first = build(graph).timings
    assert first is not None
    assert b"the cast\nthe row" in first
    model = onnx.load(graph)
    model.graph.node[1].name = "another cast"
    onnx.save(model, graph)
    later = build(graph, timings=first).timings
    assert later is not None
    assert b"another cast\nthe cast\nthe row" in later


def test_tensorrt_rtx_builds_for_the_architecture_and_times_nothing(graph: Path) -> None:
    built = build(graph, "tensorrt_rtx", "sm120")
    plan = read_plan(built.data)
    assert plan is not None
    assert (plan.library, plan.architectures, built.timings) == ("tensorrt_rtx", ["sm120"], None)


def test_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx: Any = simulated(None, "tensorrt_rtx")
    assert "SM75" in dir(rtx.ComputeCapability)
    names = TensorRtBuilder(rtx).architectures()
    assert names == tuple(sorted(names, key=lambda name: int(name[2:])))
    assert {"sm80", "sm89", "sm120"} <= set(names)
    assert "sm75" not in names
    monkeypatch.setattr(builder_module, "open_driver", lambda: FakeDriver(capability=(8, 9)))
    assert TensorRtBuilder(simulated(FakeDriver())).architectures() == ("sm89",)

    def no_driver() -> None:
        raise MissingGpuError("no libcuda")

    monkeypatch.setattr(builder_module, "open_driver", no_driver)
    with pytest.raises(MissingError, match="builds engines on the GPU that will run them: no libcuda"):
        TensorRtBuilder(simulated(FakeDriver())).architectures()


def test_errors_name_the_graph_and_the_node(graph: Path) -> None:
    message = r"^tensorrt 11\.4\S* cannot build for sm90 row\.onnx: IBuilder.* \(Dimension mismatch for tensor x"
    with pytest.raises(BundleError, match=message):
        build(graph, profiles=[Profile(2, 1, 2)])
    model = onnx.load(graph)
    model.graph.node[1].domain = "elsewhere"
    onnx.save(model, graph)
    with pytest.raises(BundleError, match=r"tensorrt 11\.4\S* cannot read row\.onnx: node the cast \(Cast\): "):
        build(graph)


def test_only_errors_are_logged_each_in_one_line() -> None:
    module: Any = simulated()
    log = tensorrt_module.error_log(module)
    log.log(module.ILogger.Severity.WARNING, "a warning")
    log.log(module.ILogger.Severity.ERROR, "no kernel\nfor it")
    assert log.errors == ["no kernel for it"]


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ({"inputs": (X, ROW, Tensor("z", "float32", (1,)))}, "drops the input 'z' of row.onnx"),
        ({"outputs": (Y, Tensor("z", "float32", (1,)))}, "drops the output 'z' of row.onnx"),
        ({"inputs": (Tensor("x", "float32", X.shape), ROW)}, r"'x' as .*1 \[3, -1, 4\], expected float32"),
        ({"inputs": (Tensor("x", "float16", (3, 1, 4)), ROW)}, r"as .* \[3, -1, 4\], expected float16 \[3, 1, 4\], of"),
        ({"inputs": (X,)}, r"adds the input row to row\.onnx"),
        ({"outputs": ()}, r"adds the output y to row\.onnx"),
    ],
)
def test_lost_changed_and_added_inputs_and_outputs_are_refused(
    expected: dict[str, Any], text: str, graph: Path
) -> None:
    with pytest.raises(BundleError, match=text):
        build(graph, **expected)


def test_the_first_installed_module_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> Any:
        if name != "tensorrt_rtx":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return simulated(None, name)

    monkeypatch.setattr(tensorrt_module, "import_package", installed)
    assert open_builder().name == open_builder("tensorrt_rtx").name == "tensorrt_rtx"
    with pytest.raises(MissingError, match=re.escape('needs tensorrt: pip install "latentloop[trt]"')):
        open_builder("tensorrt")
