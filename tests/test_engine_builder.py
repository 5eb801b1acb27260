"""The calls to TensorRT's Python API, on a fake module that records them."""

from __future__ import annotations

import re
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentloop.backends.gpu import tensorrt_module
from latentloop.engines.engine_set import Profile, Tensor
from latentloop.errors import BundleError, MissingError
from latentloop.export.tensorrt import builder as builder_module
from latentloop.export.tensorrt.builder import TensorRtBuilder, open_builder
from latentloop.kernels.driver import MissingGpuError

INPUTS = (Tensor("x", "float16", (3, "batch", 4)), Tensor("row", "int64", (1,)))
OUTPUTS = (Tensor("y", "float32", ("batch", 4)),)
PROFILES = (Profile(1, 1, 1), Profile(1, 8, 8))


class Types(Enum):
    FLOAT, HALF, BF16, INT64, UINT8 = range(5)


class RecordingModule:
    """A fake TensorRT module; its parser finds the same ``inputs`` and ``outputs`` in every file."""

    __version__ = "11.0"
    DataType = Types
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=3)
    BuilderFlag = SimpleNamespace(TF32="tf32", STRICT_NANS="strict_nans")
    ComputeCapability = SimpleNamespace(NONE=0, CURRENT=1, SM75="75", SM80="80", SM120="120", SM89="89")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    def __init__(self, name: str = "tensorrt") -> None:
        self.__name__ = name
        self.calls: list[Any] = []
        self.parser_errors: list[Any] = []
        self.builder_error = ""
        self.inputs = [_tensor("x", Types.HALF, (3, -1, 4)), _tensor("row", Types.INT64, (1,))]
        self.outputs = [_tensor("y", Types.FLOAT, (-1, 4))]

    def _recorder(self, name: str) -> Any:
        return lambda *values, **named: self.calls.append((name, *values, *named.values()))

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(
            parse_from_file=lambda path: not self.parser_errors,
            num_errors=len(self.parser_errors),
            get_error=lambda index: self.parser_errors[index],
        )

    def Builder(self, logger: Any) -> Any:
        def create_network(flags: int) -> Any:
            self.calls.append(("network", flags))
            return SimpleNamespace(
                num_inputs=len(self.inputs),
                num_outputs=len(self.outputs),
                get_input=lambda index: self.inputs[index],
                get_output=lambda index: self.outputs[index],
            )

        def build(network: Any, config: Any) -> bytes | None:
            if self.builder_error:
                logger.log(self.ILogger.Severity.WARNING, "a warning")
                logger.log(self.ILogger.Severity.ERROR, self.builder_error)
                return None
            self.calls.append(("capabilities", getattr(config, "num_compute_capabilities", None)))
            return b"plan"

        config = SimpleNamespace(
            set_flag=self._recorder("set"),
            clear_flag=self._recorder("clear"),
            add_optimization_profile=lambda profile: None,
            create_timing_cache=lambda data: data,
            set_timing_cache=self._recorder("timings"),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: bytearray(b"later")),
            set_compute_capability=self._recorder("capability"),
        )
        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self._recorder("shape")),
            build_serialized_network=build,
        )


def _tensor(name: str, dtype: Types, shape: tuple[int, ...]) -> SimpleNamespace:
    return SimpleNamespace(name=name, dtype=dtype, shape=shape)


def build(module: RecordingModule, architecture: str = "sm90", timings: bytes | None = None) -> Any:
    return TensorRtBuilder(module).build(Path("g/row.onnx"), INPUTS, OUTPUTS, PROFILES, architecture, timings)


def test_tensorrt_gets_typed_networks_strict_nans_no_tf32_and_a_timing_cache() -> None:
    module = RecordingModule()
    plan = build(module, timings=b"before")
    assert (plan.data, plan.timings) == (b"plan", b"later")
    assert module.calls == [
        ("network", 1 << 3),
        ("clear", "tf32"),
        ("set", "strict_nans"),
        ("shape", "x", [3, 1, 4], [3, 1, 4], [3, 1, 4]),
        ("shape", "x", [3, 1, 4], [3, 8, 4], [3, 8, 4]),
        ("timings", b"before", False),
        ("capabilities", None),
    ]


def test_tensorrt_rtx_gets_the_architecture_and_no_timing_cache() -> None:
    module = RecordingModule("tensorrt_rtx")
    plan = build(module, "sm120")
    assert plan.timings is None
    assert module.calls[-2:] == [("capability", "120", 0), ("capabilities", 1)]


def test_architectures() -> None:
    assert TensorRtBuilder(RecordingModule("tensorrt_rtx")).architectures() == ("sm80", "sm89", "sm120")


def test_tensorrt_builds_for_the_gpu_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = SimpleNamespace(use=lambda device: nullcontext(), capability=lambda: (9, 0))
    monkeypatch.setattr(builder_module, "open_driver", lambda: driver)
    assert TensorRtBuilder(RecordingModule()).architectures() == ("sm90",)

    def no_driver() -> None:
        raise MissingGpuError("no libcuda")

    monkeypatch.setattr(builder_module, "open_driver", no_driver)
    with pytest.raises(MissingError, match="builds engines on the GPU that will run them: no libcuda"):
        TensorRtBuilder(RecordingModule()).architectures()


def test_errors_name_the_graph_and_the_node() -> None:
    module = RecordingModule()
    module.builder_error = "no kernel\nfor it"
    with pytest.raises(BundleError, match=r"^tensorrt 11.0 cannot build for sm90 row.onnx: no kernel for it$"):
        build(module)
    error = SimpleNamespace(node_name=lambda: "cumsum_3", node_operator=lambda: "CumSum", desc=lambda: "not known")
    module.parser_errors = [error]
    with pytest.raises(BundleError, match=r"tensorrt 11.0 cannot read row.onnx: node cumsum_3 \(CumSum\): not known"):
        build(module)


@pytest.mark.parametrize(
    ("side", "change", "text"),
    [
        ("inputs", None, "drops the input 'x' of row.onnx"),
        ("outputs", None, "drops the output 'y' of row.onnx"),
        ("inputs", _tensor("x", Types.FLOAT, (3, -1, 4)), r"'x' as Types.FLOAT \[3, -1, 4\], expected float16"),
        ("inputs", _tensor("x", Types.HALF, (3, 1, 4)), r"as .* \[3, 1, 4\], expected float16 \[3, -1, 4\], of row"),
        ("outputs", _tensor("z", Types.FLOAT, (1,)), "drops the output 'y'"),
    ],
)  # fmt: skip
def test_lost_or_changed_inputs_and_outputs_are_refused(side: str, change: Any, text: str) -> None:
    module = RecordingModule()
    getattr(module, side)[:1] = [change] if change else []
    with pytest.raises(BundleError, match=text):
        build(module)


def test_added_inputs_are_refused() -> None:
    module = RecordingModule()
    module.inputs.append(_tensor("more", Types.FLOAT, (1,)))
    with pytest.raises(BundleError, match=r"adds the input more to row\.onnx"):
        build(module)


def test_the_first_installed_module_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = RecordingModule("tensorrt_rtx")

    def installed(name: str) -> Any:
        if name != "tensorrt_rtx":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return module

    monkeypatch.setattr(tensorrt_module, "import_package", installed)
    assert open_builder().name == open_builder("tensorrt_rtx").name == "tensorrt_rtx"
    with pytest.raises(MissingError, match=re.escape('needs tensorrt: pip install "latentloop[trt]"')):
        open_builder("tensorrt")
