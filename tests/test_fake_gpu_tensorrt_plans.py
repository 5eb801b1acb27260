"""The simulation of TensorRT's parser and builder: plans, and invalid files, networks and plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_gpu.driver import FakeDriver
from fake_gpu.programs import WIDTH, build, recording_logger, sum_model
from fake_gpu.tensorrt_module import LIBRARIES, tensorrt_module
from fake_gpu.tensorrt_plan import read_plan
from onnx import numpy_helper


def test_the_description_in_a_plan(tmp_path: Path) -> None:
    rtx: Any = tensorrt_module(None, "tensorrt_rtx")
    plan = read_plan(bytes(build(rtx, sum_model(tmp_path), capabilities=("SM120", "SM89"))))
    assert plan is not None
    assert (plan.library, plan.version, plan.name) == ("tensorrt_rtx", LIBRARIES["tensorrt_rtx"], "sum")
    assert plan.architectures == ["sm120", "sm89"]
    assert [profile["x"] for profile in plan.profiles] == [[[1, WIDTH]] * 3, [[1, WIDTH], [3, WIDTH], [3, WIDTH]]]
    assert plan.flags == ["STRICT_NANS"]  # and TF32, unless it is cleared
    config = rtx.Builder(recording_logger(rtx)).create_builder_config()
    assert config.flags == {rtx.BuilderFlag.TF32}
    config.num_compute_capabilities = 1
    assert not config.set_compute_capability(rtx.ComputeCapability.NONE, 0)
    assert not config.set_compute_capability(rtx.ComputeCapability.SM80, 1)


def test_plans_that_cannot_be_loaded(tmp_path: Path) -> None:
    driver = FakeDriver(capability=(12, 0))
    rtx: Any = tensorrt_module(driver, "tensorrt_rtx")
    model = sum_model(tmp_path)
    plan = bytes(build(rtx, model, capabilities=("SM89", "SM120")))
    other_gpus = build(rtx, model, capabilities=("SM80", "SM89"))
    older: Any = tensorrt_module(driver, "tensorrt_rtx", "1.6.0.1")
    data_centre: Any = tensorrt_module(driver)
    log = recording_logger(rtx)
    with driver.use(0):
        assert rtx.Runtime(log).deserialize_cuda_engine(plan) is not None
        assert not log.errors
        for module, data, text in (
            (rtx, b"nonsense", "kPLAN_MAGIC_TAG"),
            (rtx, plan[: len(plan) // 2], "kPLAN_MAGIC_TAG"),
            (rtx, plan[:-1], "kPLAN_MAGIC_TAG"),
            (rtx, other_gpus, "for sm80, sm89, the device is sm120"),
            (older, plan, f"{LIBRARIES['tensorrt_rtx']}, expected 1.6.0.1"),
            (data_centre, plan, "Version tag does not match"),
        ):
            log = recording_logger(module)
            assert module.Runtime(log).deserialize_cuda_engine(data) is None
            assert text in log.errors[-1]
    without_gpu: Any = tensorrt_module(None, "tensorrt_rtx")
    assert without_gpu.Runtime(recording_logger(without_gpu)).deserialize_cuda_engine(plan) is None


def test_networks_that_cannot_be_built(tmp_path: Path) -> None:
    module: Any = tensorrt_module(FakeDriver())
    log = recording_logger(module)
    builder = module.Builder(log)

    def build_error(network: Any, *profiles: dict[str, tuple[tuple[int, ...], ...]]) -> str:
        config = builder.create_builder_config()
        for shapes in profiles:
            profile = builder.create_optimization_profile()
            for name, bounds in shapes.items():
                profile.set_shape(name, *bounds)
            config.add_optimization_profile(profile)
        assert builder.build_serialized_network(network, config) is None
        return str(log.errors[-1])

    def parsed(flags: int) -> Any:
        network = builder.create_network(flags)
        assert module.OnnxParser(network, log).parse_from_file(sum_model(tmp_path))
        return network

    flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    valid = ((1, WIDTH),) * 3
    assert "at least one output" in build_error(builder.create_network(flags))
    assert "not strongly typed" in build_error(parsed(0), {"x": valid, "y": valid})
    assert "no optimization profile" in build_error(parsed(flags))
    assert "profile 0 has no shapes for y" in build_error(parsed(flags), {"x": valid})
    for wrong in (((2, WIDTH), (1, WIDTH), (2, WIDTH)), ((1, 63),) * 3, ((1,),) * 3):
        assert "Dimension mismatch for tensor x" in build_error(parsed(flags), {"x": wrong, "y": valid})


def test_files_that_cannot_be_parsed(tmp_path: Path) -> None:
    module: Any = tensorrt_module(None, "tensorrt_rtx")
    log = recording_logger(module)
    unknown = onnx.load(sum_model(tmp_path))
    unknown.graph.node[0].domain = "elsewhere"
    onnx.save(unknown, tmp_path / "unknown.onnx")
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    for name, code, node in (
        ("none.onnx", "INVALID_VALUE", (-1, "", "")),
        ("garbage.onnx", "MODEL_DESERIALIZE_FAILED", (-1, "", "")),
        ("unknown.onnx", "INVALID_NODE", (0, "the sum", "Add")),
    ):
        parser = module.OnnxParser(module.Builder(log).create_network(), log)
        assert not parser.parse_from_file(str(tmp_path / name))
        assert parser.num_errors == 1
        error = parser.get_error(0)
        assert error.code() == module.ErrorCode[code]
        assert (error.node(), error.node_name(), error.node_operator()) == node


def test_inputs_of_a_network(tmp_path: Path) -> None:
    """Constants are not inputs, even if a file lists them as inputs; the type double is not supported."""
    module: Any = tensorrt_module(None, "tensorrt_rtx")
    log = recording_logger(module)

    def network(model: onnx.ModelProto) -> Any:
        onnx.save(model, tmp_path / "model.onnx")
        created = module.Builder(log).create_network()
        parser = module.OnnxParser(created, log)
        return created if parser.parse_from_file(str(tmp_path / "model.onnx")) else parser

    model = onnx.load(sum_model(tmp_path))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, WIDTH), np.float32), "y"))
    parsed = network(model)
    assert [parsed.get_input(index).name for index in range(parsed.num_inputs)] == ["x"]
    assert (parsed.get_input(0).shape, parsed.get_input(0).dtype) == ((-1, WIDTH), module.DataType.FLOAT)
    assert (parsed.num_outputs, parsed.get_output(0).name, parsed.num_layers) == (1, "z", 1)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    assert network(model).get_error(0).code() == module.ErrorCode.UNSUPPORTED_NODE_DATATYPE
    assert "the type of x is not supported" in log.errors[-1]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        module.OnnxParser(parsed, log).parse_from_file(tmp_path)


def test_the_default_compute_capability_is_the_gpus(tmp_path: Path) -> None:
    with_gpu: Any = tensorrt_module(FakeDriver(capability=(8, 6)), "tensorrt_rtx")
    for capabilities in (("CURRENT",), ()):
        plan = read_plan(bytes(build(with_gpu, sum_model(tmp_path), capabilities=capabilities)))
        assert plan is not None
        assert plan.architectures == ["sm86"]
    without_gpu: Any = tensorrt_module(None, "tensorrt_rtx")
    with pytest.raises(AssertionError, match="there is no GPU to read it from"):
        build(without_gpu, sum_model(tmp_path))


def test_a_logger_that_prints(capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = tensorrt_module(None, "tensorrt_rtx")
    runtime = module.Runtime(module.Logger(module.Logger.ERROR))
    assert runtime.deserialize_cuda_engine(b"") is None
    assert "[TRT] [ERROR] IRuntime::deserializeCudaEngine" in capsys.readouterr().out
    module.Runtime(module.Logger(module.Logger.INTERNAL_ERROR)).deserialize_cuda_engine(b"")
    assert not capsys.readouterr().out


def test_calls_that_need_a_gpu() -> None:
    data_centre: Any = tensorrt_module(None)
    with pytest.raises(TypeError, match="nullptr"):
        data_centre.Builder(recording_logger(data_centre))
    rtx: Any = tensorrt_module(None, "tensorrt_rtx")
    builder = rtx.Builder(recording_logger(rtx))
    assert builder.create_builder_config().create_timing_cache(b"") is None
    log = type("Log", (rtx.ILogger,), {"__init__": lambda self: None})()
    with pytest.raises(TypeError, match="not an initialised ILogger"):
        rtx.Runtime(log)


def test_a_build_adds_to_the_timing_cache(tmp_path: Path) -> None:
    module: Any = tensorrt_module(FakeDriver())
    log = recording_logger(module)
    config = module.Builder(log).create_builder_config()
    assert config.create_timing_cache(b"nonsense") is None
    cache = config.create_timing_cache(b"")
    assert config.set_timing_cache(cache, ignore_mismatch=False)
    empty = bytes(config.get_timing_cache().serialize())
    network = module.Builder(log).create_network(2)
    assert module.OnnxParser(network, log).parse_from_file(sum_model(tmp_path))
    profile = module.Builder(log).create_optimization_profile()
    for name in "xy":
        profile.set_shape(name, *[(1, WIDTH)] * 3)
    assert config.add_optimization_profile(profile) == 0
    assert module.Builder(log).build_serialized_network(network, config) is not None
    grown = bytes(cache.serialize())
    assert len(grown) > len(empty)
    assert bytes(config.create_timing_cache(grown).serialize()) == grown
