"""The simulated CUDA provider of ONNX Runtime: bindings to GPU memory, streams, captures, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_gpu.driver import FakeDriver, FakeGpuError
from fake_gpu.onnxruntime_cuda import CPU, CUDA, DISABLE_SYNCHRONIZATION, TENSORRT, install
from onnx import TensorProto, helper

from latentloop.kernels.driver import LEGACY, Stream

SHAPE = [2, 3]
SIZE = 24  # bytes


def model(folder: Path) -> Path:
    """Writes the model doubled = 2 x, passed = x; returns its path."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "doubled", "passed")]
    nodes = [helper.make_node("Add", ["x", "x"], ["doubled"]), helper.make_node("Identity", ["x"], ["passed"])]
    graph = helper.make_graph(nodes, "double", infos[:1], infos[1:])
    path = folder / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


class Machine:
    """A session on a stream, and memory for three arrays. The first holds ones."""

    def __init__(self, driver: FakeDriver, path: Path) -> None:
        self.driver, self.path, self.stream = driver, path, driver.stream()
        self.session = self.open(self.stream)
        self.memory = driver.allocate(3 * SIZE, self.stream)
        values = driver.host_memory(SIZE)
        values.view(np.float32)[:] = 1
        driver.copy_in(self.memory, values, self.stream)
        driver.synchronize(driver.record(self.stream))

    def open(self, stream: Stream, **settings: str) -> Any:
        providers = [(CUDA, {"device_id": "0", "user_compute_stream": str(stream.handle), **settings}), CPU]
        return onnxruntime.InferenceSession(self.path, onnxruntime.SessionOptions(), providers=providers)

    def binding(self, doubled: int = 1, passed: int = 2, dtype: Any = "float32", shape: Any = SHAPE) -> Any:
        """Binds x to array 0, and the outputs to the arrays with these indices."""
        binding = self.session.io_binding()
        binding.bind_input("x", "cuda", 0, dtype, shape, self.memory)
        binding.bind_output("doubled", "cuda", 0, dtype, shape, self.memory + doubled * SIZE)
        binding.bind_output("passed", "cuda", 0, dtype, shape, self.memory + passed * SIZE)
        return binding

    def run(self, binding: Any, waits: bool = False, graph: int | None = None) -> None:
        options = onnxruntime.RunOptions()
        if graph is not None:
            options.add_run_config_entry("gpu_graph_id", str(graph))
        options.add_run_config_entry(DISABLE_SYNCHRONIZATION, "0" if waits else "1")
        self.session.run_with_iobinding(binding, options)

    def read(self, index: int, stream: Stream | None = None) -> list[float]:
        data = self.driver.to_host(self.memory + index * SIZE, SIZE, stream or self.stream)
        return [float(value) for value in np.frombuffer(data, np.float32)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    driver = FakeDriver()
    install(monkeypatch, driver)
    with driver.use(0):
        yield Machine(driver, model(tmp_path))


def test_runs_are_enqueued_on_the_stream(machine: Machine) -> None:
    assert machine.session.get_providers() == [CUDA, CPU]
    assert [value.name for value in machine.session.get_inputs()] == ["x"]
    assert [value.name for value in machine.session.get_outputs()] == ["doubled", "passed"]
    machine.run(machine.binding())
    assert machine.driver.launched == ["double.onnx"]
    with pytest.raises(FakeGpuError, match=r"the source: a race with double\.onnx"):
        machine.read(1, LEGACY)
    assert machine.read(1) == [2] * 6
    assert machine.read(2) == [1] * 6


def test_a_binding_can_be_reused_and_changed(machine: Machine) -> None:
    binding = machine.binding()
    for value in (3, 4):
        staged = machine.driver.host_memory(SIZE)
        staged.view(np.float32)[:] = value
        machine.driver.copy_in(machine.memory, staged, machine.stream)
        machine.run(binding)
        assert machine.read(1) == [2 * value] * 6
    binding.bind_output("doubled", "cuda", 0, np.float32, SHAPE, machine.memory + 2 * SIZE)
    binding.bind_output("passed", "cuda", 0, np.float32, SHAPE, machine.memory + SIZE)
    machine.run(binding)
    assert machine.read(2) == [8] * 6


def test_the_cpu_waits_unless_the_run_options_disable_it(machine: Machine) -> None:
    machine.run(machine.binding(), waits=True)
    assert machine.read(1, LEGACY) == [2] * 6  # the CPU has waited, so every stream may read
    machine.session.run_with_iobinding(machine.binding())
    assert machine.read(1, LEGACY) == [2] * 6


def test_an_output_can_share_the_memory_of_its_input(machine: Machine) -> None:
    machine.run(machine.binding(passed=0))
    with pytest.raises(FakeGpuError, match="a race with"):
        machine.read(0, LEGACY)  # the run counts as a write
    assert machine.read(0) == [1] * 6
    assert machine.read(1) == [2] * 6


FAULTS: dict[str, tuple[str, Callable[[Machine], Any]]] = {
    "two outputs with the same memory": (
        "doubled and passed overlap|passed and doubled overlap",
        lambda m: m.binding(passed=1),
    ),
    "an output longer than the input": ("overlap", lambda m: m.binding(passed=0, shape=[1, 3])),
    "beyond the allocation": ("one allocation", lambda m: m.binding(passed=3)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bindings_that_would_be_errors_on_a_gpu(fault: str, machine: Machine) -> None:
    text, bind = FAULTS[fault]
    binding = bind(machine)
    if fault == "an output longer than the input":
        binding.bind_output("passed", "cuda", 0, np.float32, SHAPE, machine.memory)
    with pytest.raises(FakeGpuError, match=text):
        machine.run(binding)


def test_bindings_that_do_not_fit_the_model(machine: Machine) -> None:
    unknown = machine.binding()
    unknown.bind_output("y", "cuda", 0, np.float32, SHAPE, machine.memory)
    wrong = {
        "has no output y": unknown,
        r"x is bound as int64, expected tensor\(float\)": machine.binding(dtype="int64", shape=[1, 3]),
        r"x is bound as \[2, 2\], expected \['n', 3\]": machine.binding(shape=[2, 2]),
        "inputs that are not bound": machine.session.io_binding(),
    }
    for text, binding in wrong.items():
        with pytest.raises(Exception, match=text):
            machine.run(binding)
    with pytest.raises(FakeGpuError, match="x is bound on cuda:1, the session is on cuda:0"):
        machine.session.io_binding().bind_input("x", "cuda", 1, np.float32, SHAPE, machine.memory)


def test_sessions_cannot_run_during_a_capture(machine: Machine) -> None:
    binding = machine.binding()
    machine.run(binding)
    stream, driver = machine.stream, machine.driver
    capture = driver.capture(stream)
    capture.__enter__()
    with pytest.raises(Exception, match="not permitted when stream is capturing"):
        machine.run(binding)
    with pytest.raises(Exception, match="not permitted when stream is capturing"):
        machine.session.run(None, {"x": np.ones(SHAPE, np.float32)})
    with pytest.raises(FakeGpuError, match="invalidated"):
        capture.__exit__(None, None, None)


def test_cuda_graphs_of_a_session(machine: Machine) -> None:
    """A CUDA graph's id is bound to the tensors of its first run. A run without an id has the id 0."""
    machine.session = machine.open(machine.stream, enable_cuda_graph="1")
    for _ in range(2):
        machine.run(machine.binding(), graph=1)
        machine.run(machine.binding(2, 1), graph=2)
        machine.run(machine.binding(2, 1))
        assert machine.read(2) == [2] * 6
    for graph in (None, 1):
        with pytest.raises(FakeGpuError, match="was captured with other tensors"):
            machine.run(machine.binding(passed=0), graph=graph)
    machine.run(machine.binding(passed=0), graph=-1)
    machine.session = machine.open(machine.stream)
    for passed in (0, 2):
        machine.run(machine.binding(passed=passed), graph=1)


def test_host_arrays(machine: Machine) -> None:
    doubled, passed = machine.session.run(None, {"x": np.ones(SHAPE, np.float32)})
    assert (doubled == 2).all()
    assert (passed == 1).all()


def test_sessions_without_a_gpu_provider(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = onnxruntime.InferenceSession(machine.path, providers=[CPU])
    assert cpu.get_providers() == [CPU]
    install(monkeypatch, machine.driver, [CPU])  # ONNX Runtime ignores providers that it does not have
    assert machine.open(machine.stream).get_providers() == [CPU]
    assert onnxruntime.get_available_providers() == [CPU]


def test_sessions_must_run_on_the_programs_stream(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, machine.driver, [TENSORRT, CUDA, CPU])
    settings = {"user_compute_stream": str(machine.stream.handle)}
    session = onnxruntime.InferenceSession(machine.path, providers=[(TENSORRT, settings), (CUDA, settings)])
    assert session.get_providers() == [TENSORRT, CUDA, CPU]
    for providers in (
        [CUDA],
        [(TENSORRT, settings), CUDA],
        [(TENSORRT, {"user_compute_stream": "5"}), (CUDA, settings)],
    ):
        with pytest.raises(FakeGpuError, match="nothing orders its work with the program's streams"):
            onnxruntime.InferenceSession(machine.path, providers=providers)
