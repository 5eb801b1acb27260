"""Simulated machines with a fake GPU, bundles with engines for them, and comparisons of samples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import onnxruntime_cuda
from fake_gpu.capture import CapturedWork
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_module import tensorrt_module
from made_once import made_once
from numpy.typing import NDArray

from latentloop import Bundle, Sampler, Samples
from latentloop.backends.gpu.backend import GpuBackend
from latentloop.export.tensorrt.builder import TensorRtBuilder
from latentloop.export.tensorrt.engine_sets import build_sets
from latentloop.kernels.driver.stream import Stream
from latentloop.sampling.sampler import runs_of

CAPABILITY = (9, 0)
MAX_BATCH = 4  # of the engines
WAIT, CAPTURE = "wait", "capture"  # events


class WatchedDriver(FakeDriver):
    """Records in ``events``, in order, enqueued work, captures and waits of the host; in ``faults``, TensorRT contexts
    that are deleted during their work.

    ``early``: work runs when an event is recorded after it, not as late as possible; the host has not waited for it.
    """

    def __init__(
        self, seed: int = 0, capability: tuple[int, int] = CAPABILITY, early: bool = False, **others: Any
    ) -> None:
        super().__init__(seed=seed, capability=capability, **others)
        self.early = early
        self.events: list[str] = []
        self.faults: list[str] = []

    def enqueue(self, text: str, stream: Stream, run: Callable[[], object], accesses: Any) -> None:
        if not self.is_capturing(stream):
            self.events.append(text)
        super().enqueue(text, stream, run, accesses)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[CapturedWork]:
        self.events.append(CAPTURE)
        with super().capture(stream) as captured:
            yield captured

    def record(self, stream: Stream) -> Any:
        event = super().record(stream)
        if self.early and not self.is_capturing(stream):
            with self._lock:
                host_clock = dict(self.scheduler.host_clock)
                self.scheduler.host_waits(self.scheduler.everything())
                self.scheduler.host_clock = host_clock
        return event

    def synchronize(self, event: Any) -> None:
        self.events.append(WAIT)
        super().synchronize(event)

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        self.events.append(WAIT)
        return super().to_host(pointer, size, stream)

    def release(self, pointer: int) -> None:
        """Frees the memory of a deleted context at once, which is an error during its work and during a capture."""
        allocation = self.allocations.find(pointer, 1)
        assert allocation is not None
        if not all(map(self.scheduler.host_has_waited_for, allocation.history.conflicts(0, allocation.size, True))):
            self.faults.append("a context was deleted during its work")
        if self._thread.captures:
            self.faults.append("a context was deleted during a capture")
        super().release(pointer)

    def unfreed(self) -> int:
        """Returns the number of allocations that are not freed: GPU memory, of contexts too, and page-locked memory."""
        return sum(not allocation.freed for allocation in self.allocations)


@dataclass
class Machines:
    """Simulates machines, one after the other, and checks each at the end of a test."""

    monkeypatch: pytest.MonkeyPatch
    drivers: list[WatchedDriver] = field(default_factory=list)

    def __call__(self, *, engines: bool = True, providers: bool = True, **driver: Any) -> WatchedDriver:
        """Simulates a machine with TensorRT (``engines``) and onnxruntime-gpu (``providers``); returns its driver."""
        watched = WatchedDriver(**driver)
        self.drivers.append(watched)
        simulate_machine(self.monkeypatch, watched, engines=engines, providers=providers)
        return watched

    def finish(self) -> None:
        for driver in self.drivers:
            driver.finish()
            assert driver.faults == []


def simulate_machine(
    monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, *, engines: bool = True, providers: bool = True, **module: Any
) -> None:
    """Patches LatentLoop to find the GPU of ``driver``; with ``engines`` also TensorRT (``module``: its library and
    version), with ``providers`` also onnxruntime-gpu.
    """
    installed = tensorrt_module(driver, **module) if engines else None
    library = module.get("library", "tensorrt")
    monkeypatch.setattr("latentloop.backends.gpu.availability.open_gpu", lambda: driver)
    monkeypatch.setattr(
        "latentloop.backends.gpu.tensorrt_module.tensorrt_module",
        lambda flavour: installed if flavour == library else None,
    )
    if providers:
        onnxruntime_cuda.install(monkeypatch, driver)


def with_engines(
    source: Path, folder: Path, precisions: tuple[str, ...] = ("float32",), *, max_batch: int = MAX_BATCH, **module: Any
) -> Path:
    """Copies a bundle and adds engines that the simulated TensorRT builds; returns the copy's path."""
    shutil.copytree(source, folder)
    builder = TensorRtBuilder(tensorrt_module(FakeDriver(capability=CAPABILITY), **module))
    architecture = "sm120" if builder.name == "tensorrt_rtx" else "sm{}{}".format(*CAPABILITY)
    outcomes = build_sets(Bundle.open(folder), builder, [architecture], precisions, max_batch=max_batch)
    assert all(outcome.state == "built" for outcome in outcomes)
    return folder


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    simulated = Machines(monkeypatch)
    yield simulated
    simulated.finish()


@pytest.fixture(params=("tensorrt", "cuda"))
def device(request: pytest.FixtureRequest) -> str:
    """The device of a sampler on a GPU."""
    return str(request.param)


@pytest.fixture(scope="session")
def small_engines(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _with_all_engines(small_bundle, "small-engines", tmp_path_factory)


@pytest.fixture(scope="session")
def default_engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _with_all_engines(Bundle.default().path, "default-engines", tmp_path_factory)


def _with_all_engines(source: Path, name: str, folders: pytest.TempPathFactory) -> Path:
    precisions = ("float32", "float16", "bfloat16", "int8")
    return made_once(folders, name, lambda path: with_engines(source, path, precisions))


def backend(sampler: Sampler) -> GpuBackend:
    gpu_backend = runs_of(sampler).backend
    assert isinstance(gpu_backend, GpuBackend)
    return gpu_backend


def check_same(actual: Samples, expected: Samples, case: object = "") -> None:
    """Checks that codes are equal, and images equal up to rounding."""
    for name, codes in expected.codes.items():
        np.testing.assert_array_equal(actual.codes[name], codes, str(case))
    check_images(actual.images, expected.images, case)
    assert actual.cancelled == expected.cancelled, case


def check_images(actual: NDArray[np.uint8], expected: NDArray[np.uint8], case: object = "") -> None:
    np.testing.assert_allclose(actual.astype(int), expected.astype(int), rtol=0, atol=1, err_msg=str(case))
