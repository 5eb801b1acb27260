"""Machines with a GPU that the host plays, bundles with engines for them, and samplers on them."""

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
from fake_gpu.capture import Captured
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_module import tensorrt_module
from numpy.typing import NDArray

from latentloop import Bundle, Sampler, Samples
from latentloop.backends.gpu.backend import GpuBackend
from latentloop.export.tensorrt.builder import TensorRtBuilder
from latentloop.export.tensorrt.engine_sets import build_sets
from latentloop.kernels.driver.stream import Stream

CAPABILITY = (9, 0)
MOST = 4  # the largest batch of the engines here
WAIT, CAPTURE = "wait", "capture"  # events


class WatchedDriver(FakeDriver):
    """Notes in ``events``, in order, what is enqueued or captured and when the host waits; in ``faults`` contexts that
    go while they run.

    ``early``: work is done as soon as a mark comes after it, not as late as can be. Nobody has waited for it, though.
    """

    def __init__(
        self, seed: int = 0, capability: tuple[int, int] = CAPABILITY, early: bool = False, **others: Any
    ) -> None:
        super().__init__(seed=seed, capability=capability, **others)
        self.early = early
        self.events: list[str] = []
        self.faults: list[str] = []

    def enqueue(self, text: str, stream: Stream, run: Callable[[], object], touched: Any) -> None:
        if not self.is_capturing(stream):
            self.events.append(text)
        super().enqueue(text, stream, run, touched)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Captured]:
        self.events.append(CAPTURE)
        with super().capture(stream) as captured:
            yield captured

    def record(self, stream: Stream) -> Any:
        mark = super().record(stream)
        if self.early and not self.is_capturing(stream):
            with self._lock:
                waited_for = dict(self.order.over)
                self.order.host_waits(self.order.everything())
                self.order.over = waited_for
        return mark

    def synchronize(self, mark: Any) -> None:
        self.events.append(WAIT)
        super().synchronize(mark)

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        self.events.append(WAIT)
        return super().to_host(pointer, size, stream)

    def release(self, pointer: int) -> None:
        """A context's end gives its memory back at once, which no capture permits."""
        block = self.blocks.find(pointer, 1)
        assert block is not None
        if not all(map(self.order.is_over, block.accesses.others(0, block.size, True))):
            self.faults.append("a context went while its work was under way")
        if self._thread.captures:
            self.faults.append("a context went during a capture")
        super().release(pointer)

    def kept(self) -> int:
        """All that has not been given back: the GPU's memory, contexts' included, and page-locked memory."""
        return sum(not block.freed for block in self.blocks)


@dataclass
class Machines:
    """Plays one machine after the other, and looks after each at the end of a test."""

    monkeypatch: pytest.MonkeyPatch
    drivers: list[WatchedDriver] = field(default_factory=list)

    def __call__(self, *, engines: bool = True, providers: bool = True, **driver: Any) -> WatchedDriver:
        """From now on this machine has such a GPU; TensorRT, onnxruntime-gpu, or neither."""
        made = WatchedDriver(**driver)
        self.drivers.append(made)
        play(self.monkeypatch, made, engines=engines, providers=providers)
        return made

    def finish(self) -> None:
        for driver in self.drivers:
            driver.finish()
            assert driver.faults == []


def play(
    monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, *, engines: bool = True, providers: bool = True, **module: Any
) -> None:
    """From now on this machine has that GPU; TensorRT (``module``: its library and version), onnxruntime-gpu, or
    neither.
    """
    there = tensorrt_module(driver, **module) if engines else None
    library = module.get("library", "tensorrt")
    monkeypatch.setattr("latentloop.backends.gpu.availability.open_gpu", lambda: driver)
    monkeypatch.setattr(
        "latentloop.backends.gpu.tensorrt_module.tensorrt_module", lambda flavour: there if flavour == library else None
    )
    if providers:
        onnxruntime_cuda.install(monkeypatch, driver)


def with_engines(
    source: Path, folder: Path, precisions: tuple[str, ...] = ("float32",), *, max_batch: int = MOST, **module: Any
) -> Path:
    """A copy of a bundle with engines that the played TensorRT built."""
    shutil.copytree(source, folder)
    flavour = TensorRtBuilder(tensorrt_module(FakeDriver(capability=CAPABILITY), **module))
    architecture = "sm120" if flavour.name == "tensorrt_rtx" else "sm{}{}".format(*CAPABILITY)
    built = build_sets(Bundle.open(folder), flavour, [architecture], precisions, max_batch=max_batch)
    assert all(outcome.state == "built" for outcome in built)
    return folder


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    made = Machines(monkeypatch)
    yield made
    made.finish()


@pytest.fixture(params=("tensorrt", "cuda"))
def device(request: pytest.FixtureRequest) -> str:
    """By which a sampler finds the GPU."""
    return str(request.param)


@pytest.fixture(scope="session")
def small_engines(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    precisions = ("float32", "float16", "bfloat16", "int8")
    return with_engines(small_bundle, tmp_path_factory.mktemp("engines") / "small", precisions)


@pytest.fixture(scope="session")
def default_engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    precisions = ("float32", "float16", "bfloat16", "int8")
    return with_engines(Bundle.default().path, tmp_path_factory.mktemp("engines") / "default", precisions)


def backend(sampler: Sampler) -> GpuBackend:
    found = sampler._backend
    assert isinstance(found, GpuBackend)
    return found


def check_same(found: Samples, expected: Samples, case: object = "") -> None:
    """Codes are equal; images may be rounded the other way."""
    for name, codes in expected.codes.items():
        np.testing.assert_array_equal(found.codes[name], codes, str(case))
    check_images(found.images, expected.images, case)
    assert found.cancelled == expected.cancelled, case


def check_images(found: NDArray[np.uint8], expected: NDArray[np.uint8], case: object = "") -> None:
    np.testing.assert_allclose(found.astype(int), expected.astype(int), rtol=0, atol=1, err_msg=str(case))
