"""The simulated TensorRT runtime: engines, contexts, captures, and invalid runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from fake_gpu.driver import FakeDriver, FakeGpuError
from fake_gpu.programs import ELEMENTS, WIDTH, build, recording_logger, sum_model
from fake_gpu.tensorrt_module import tensorrt_module
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latentloop.kernels.driver import Stream


class Machine:
    """An engine and its context, and 8 slots of 256 bytes of zeros: x in slot 0, y in slot 2, z in slot 4."""

    def __init__(self, driver: FakeDriver, model: str) -> None:
        self.driver = driver
        self.module: Any = tensorrt_module(driver)
        self.log = recording_logger(self.module)
        self.engine = self.module.Runtime(self.log).deserialize_cuda_engine(build(self.module, model))
        self.context = self.engine.create_execution_context()
        self.stream = driver.stream()
        self.memory = driver.allocate(8 * 256, self.stream)
        driver.zero(self.memory, 8 * 256, self.stream)
        driver.synchronize(driver.record(self.stream))

    def bind(self, batch: int = 2) -> None:
        assert self.context.set_optimization_profile_async(1, self.stream.handle)
        for name, slot in {"x": 0, "y": 2, "z": 4}.items():
            assert name == "z" or self.context.set_input_shape(name, (batch, WIDTH))
            assert self.context.set_tensor_address(name, self.address(slot))

    def address(self, slot: int) -> int:
        return self.memory + 256 * slot

    def write(self, slot: int, values: NDArray[Any]) -> None:
        staged = self.driver.host_memory(values.nbytes)
        staged[:] = values.reshape(-1).view(np.uint8)
        self.driver.copy_in(self.address(slot), staged, self.stream)
        self.driver.synchronize(self.driver.record(self.stream))

    def read(self, slot: int, like: NDArray[Any]) -> NDArray[Any]:
        data = self.driver.to_host(self.address(slot), like.nbytes, self.stream)
        return np.frombuffer(data, like.dtype).reshape(like.shape)

    def run(self, stream: Stream | None = None) -> bool:
        return bool(self.context.execute_async_v3(stream_handle=(stream or self.stream).handle))

    def last_error(self) -> str:
        return str(self.log.errors[-1])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    driver = FakeDriver()
    with driver.use(0):
        yield Machine(driver, sum_model(tmp_path))


# ---- Runs.


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_sums(dtype: str, tmp_path: Path) -> None:
    numpy_dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    driver = FakeDriver()
    with driver.use(0):
        machine = Machine(driver, sum_model(tmp_path, dtype))
        x, y = (np.random.default_rng(seed).normal(size=(2, WIDTH)).astype(numpy_dtype) for seed in range(2))
        machine.write(0, x)
        machine.write(2, y)
        machine.bind()
        assert machine.run()
        np.testing.assert_array_equal(machine.read(4, x), x + y)
        assert driver.launched == ["sum: profile", "sum"]


def test_bfloat16_within_a_graph(tmp_path: Path) -> None:
    """Casts round; constants in initialisers and in Constant nodes are converted."""
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in "xz")
    y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["batch", WIDTH])
    two, half = (np.array([value], ml_dtypes.bfloat16) for value in (2, 0.5))
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.BFLOAT16),
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(half)),
        helper.make_node("Mul", ["narrow", "two"], ["doubled"]),
        helper.make_node("Mul", ["y", "half"], ["halved"]),
        helper.make_node("Add", ["doubled", "halved"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["z"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "narrow", [x, y], [z], [numpy_helper.from_array(two, "two")])
    path = tmp_path / "narrow.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    driver = FakeDriver()
    with driver.use(0):
        machine = Machine(driver, str(path))
        values = np.random.default_rng(0).normal(size=(2, WIDTH)).astype(np.float32)
        machine.write(0, values)
        machine.write(2, np.full((2, WIDTH), 4, ml_dtypes.bfloat16))
        machine.bind()
        assert machine.run()
        rounded = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        assert (rounded != values).any()
        np.testing.assert_array_equal(machine.read(4, values), 2 * rounded + 2)


def test_the_description_of_an_engine(machine: Machine) -> None:
    engine, module = machine.engine, machine.module
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == ["x", "y", "z"]
    modes = [engine.get_tensor_mode(name) for name in names]
    assert modes == [module.TensorIOMode.INPUT, module.TensorIOMode.INPUT, module.TensorIOMode.OUTPUT]
    assert {engine.get_tensor_dtype(name) for name in names} == {module.DataType.FLOAT}
    assert engine.get_tensor_shape("z") == (-1, WIDTH)
    assert engine.num_optimization_profiles == 2
    assert engine.get_tensor_profile_shape("x", 1) == [(1, WIDTH), (3, WIDTH), (3, WIDTH)]


def test_shapes_outside_a_profile(machine: Machine) -> None:
    context = machine.context
    assert not context.set_input_shape("x", (2, WIDTH))  # profile 0 is for batches of 1
    assert "Valid range for profile 0" in machine.last_error()
    assert context.set_optimization_profile_async(1, machine.stream.handle)
    assert context.infer_shapes() == ["x", "y"]
    for shape in ((4, WIDTH), (0, WIDTH), (2, WIDTH - 1), (WIDTH,)):
        assert not context.set_input_shape("x", shape)
    assert context.set_input_shape("x", (3, WIDTH))
    assert context.get_tensor_shape("z") == (3, WIDTH)
    assert not context.all_binding_shapes_specified
    assert context.set_input_shape("y", (3, WIDTH))
    assert context.all_binding_shapes_specified
    assert context.set_optimization_profile_async(0, machine.stream.handle)
    assert context.get_tensor_shape("x") == (-1, WIDTH)
    assert not context.set_optimization_profile_async(2, machine.stream.handle)
    assert not context.set_input_shape("w", (1, WIDTH))
    assert "there is no input w" in machine.last_error()


def test_runs_without_a_shape_or_an_address(machine: Machine) -> None:
    context = machine.context
    assert not machine.run()
    assert "the shape of input x is not specified" in machine.last_error()
    assert context.set_optimization_profile_async(1, machine.stream.handle)
    for name in "xy":
        assert context.set_input_shape(name, (2, WIDTH))
        assert context.set_tensor_address(name, machine.address(0))
    assert not machine.run()
    assert "Address is not set for tensor z" in machine.last_error()
    assert not context.set_tensor_address("z", machine.address(4) + 128)
    assert "z: data must be aligned on 256 byte" in machine.last_error()
    assert not context.set_tensor_address("w", machine.address(4))
    assert context.set_tensor_address("z", machine.address(4))
    assert machine.run()
    assert context.set_input_shape("y", (1, WIDTH))
    assert not machine.run()
    assert "inputs disagree about the sizes" in machine.last_error()


FAULTS: dict[str, tuple[str, Callable[[Machine], object]]] = {
    "an output that overlaps an input": ("overlap", lambda m: m.context.set_tensor_address("z", m.address(1))),
    "beyond the allocation": ("one allocation", lambda m: m.context.set_tensor_address("y", m.address(7))),
    "freed memory": ("was freed", lambda m: m.driver.free(m.memory, m.stream)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_runs_that_would_be_errors_on_a_gpu(fault: str, machine: Machine) -> None:
    machine.bind()
    assert machine.run()
    text, cause = FAULTS[fault]
    cause(machine)
    with pytest.raises(FakeGpuError, match=text):
        machine.run()


def test_runs_on_two_streams_race(machine: Machine) -> None:
    machine.bind()
    assert machine.run()
    other = machine.driver.stream()
    with pytest.raises(FakeGpuError, match="a race with sum"):
        machine.run(other)
    machine.driver.wait(other, machine.driver.record(machine.stream))
    assert machine.run(other)
    with pytest.raises(FakeGpuError, match="the source: a race with sum"):
        machine.read(4, np.zeros(WIDTH, np.float32))


def test_each_concurrent_run_needs_its_own_context(machine: Machine) -> None:
    """Two concurrent runs of one context race, even if they write different outputs."""
    machine.bind()
    assert machine.run()
    other = machine.driver.stream()
    machine.driver.wait(other, machine.driver.record(machine.stream))
    assert machine.run()
    assert machine.context.set_tensor_address("z", machine.address(6))
    with pytest.raises(FakeGpuError, match="the context's internal memory: a race with sum"):
        machine.run(other)
    machine.context = machine.engine.create_execution_context()
    machine.stream, first_stream = other, machine.stream
    machine.bind()
    assert machine.context.set_tensor_address("z", machine.address(6))
    assert machine.run()
    machine.stream = first_stream


def test_uninitialised_inputs_give_nan(machine: Machine) -> None:
    machine.driver.free(machine.memory, machine.stream)
    machine.memory = machine.driver.allocate(8 * 256, machine.stream)
    values = np.ones((2, WIDTH), np.float32)
    machine.write(0, values)
    machine.write(2, values[:1])
    machine.bind()
    assert machine.run()
    results = machine.read(4, values)
    assert (results[0] == 2).all()
    assert np.isnan(results[1]).all()


# ---- Captures.


def test_replays(machine: Machine) -> None:
    values = np.full((2, WIDTH), 1, np.float32)
    machine.write(2, values)
    machine.bind()
    assert machine.run()
    with machine.driver.capture(machine.stream) as captured:
        assert machine.run()
        assert machine.context.set_tensor_address("x", machine.address(4))
        assert machine.context.set_tensor_address("z", machine.address(6))
        assert machine.run()
    for value in (5, 6):
        machine.write(0, values * value)
        machine.driver.replay(captured, machine.stream)
        np.testing.assert_array_equal(machine.read(4, values), values * (value + 1))
        np.testing.assert_array_equal(machine.read(6, values), values * (value + 2))


def test_no_change_of_profile_in_a_capture(machine: Machine) -> None:
    machine.bind()
    with pytest.raises(FakeGpuError, match="invalidated"), machine.driver.capture(machine.stream):
        assert not machine.context.set_optimization_profile_async(1, machine.stream.handle)
    assert "operation not permitted when stream is capturing" in machine.last_error()


@pytest.mark.parametrize("case", ["no run", "another shape", "another profile"])
def test_captures_need_an_earlier_run_with_the_same_shapes(case: str, machine: Machine) -> None:
    machine.bind()
    if case != "no run":
        assert machine.run()
    if case == "another shape":
        assert all(machine.context.set_input_shape(name, (3, WIDTH)) for name in "xy")
    elif case == "another profile":
        machine.bind()
    with pytest.raises(FakeGpuError, match="invalidated"), machine.driver.capture(machine.stream):
        assert not machine.run()
    assert "operation not permitted when stream is capturing" in machine.last_error()


def test_setting_the_same_shape_keeps_a_context_capturable(machine: Machine) -> None:
    machine.bind()
    assert machine.run()
    with machine.driver.capture(machine.stream):
        assert all(machine.context.set_input_shape(name, (2, WIDTH)) for name in "xy")
        assert machine.run()


def test_a_replay_after_its_context_was_deleted(machine: Machine) -> None:
    machine.bind()
    assert machine.run()
    with machine.driver.capture(machine.stream) as captured:
        assert machine.run()
    machine.driver.replay(captured, machine.stream)
    del machine.context
    with pytest.raises(FakeGpuError, match="replay: the context's internal memory was freed"):
        machine.driver.replay(captured, machine.stream)
