"""Conformance of all drivers, including the fake GPU, with the Driver protocol; faults that the checks detect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fake_gpu.driver import FakeDriver
from numpy.typing import NDArray

from latentloop.bench.gpu.conformance.capture_checks import CAPTURE_CHECKS, check_refuses_captures
from latentloop.bench.gpu.conformance.device_bytes import Check
from latentloop.bench.gpu.conformance.driver_checks import CHECKS, checks_of
from latentloop.kernels.driver import LEGACY, MissingGpuError, Stream, open_driver
from latentloop.kernels.driver.host_memory import bytes_of

SIZE = 1 << 12  # bytes


@pytest.mark.parametrize("check", [*CHECKS, *CAPTURE_CHECKS], ids=lambda check: check.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_fake_gpu(check: Check, seed: int) -> None:
    driver = FakeDriver(seed=seed, pageable=True)
    check(driver, SIZE)
    driver.finish()


def test_fake_gpu_without_captures() -> None:
    driver = FakeDriver(captures=False)
    assert checks_of(driver) == (*CHECKS, check_refuses_captures)
    check_refuses_captures(driver, SIZE)


@pytest.mark.parametrize("name", ["cuda-python", "pycuda"])
def test_drivers_on_a_gpu(name: str) -> None:
    try:
        driver = open_driver(name)
    except MissingGpuError as error:
        pytest.skip(str(error))
    for check in checks_of(driver):
        check(driver, 1 << 24)


# ---- Faults that the checks must detect.


class StreamsDoNotWait(FakeDriver):
    def wait(self, stream: Stream, event: Any) -> None:
        pass


class HostDoesNotWait(FakeDriver):
    def synchronize(self, event: Any) -> None:
        pass


class SingleStream(FakeDriver):
    def stream(self) -> Stream:
        return LEGACY


class ShortCopies(FakeDriver):
    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        super().copy(target, source, size - 1, stream)


class ShortCopiesIn(FakeDriver):
    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        super().copy_in(pointer, bytes_of(values)[:-1], stream)


class ShortCopiesOut(FakeDriver):
    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        super().copy_out(bytes_of(values)[:-1], pointer, stream)


class NoZeros(FakeDriver):
    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        pass


class SharedHostMemory(FakeDriver):
    def host_memory(self, size: int) -> NDArray[np.uint8]:
        arrays = self.__dict__.setdefault("arrays", {})
        if size not in arrays:
            arrays[size] = super().host_memory(size)
        array: NDArray[np.uint8] = arrays[size]
        return array


class CapturesRunWork(FakeDriver):
    """Runs the work after the capture, and again in a replay."""

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Any]:
        with super().capture(stream) as captured:
            yield captured
        super().replay(captured, stream)


class ReplaysOnce(FakeDriver):
    def replay(self, captured: Any, stream: Stream) -> None:
        if not captured.__dict__.setdefault("replayed", False):
            captured.replayed = True
            super().replay(captured, stream)


class ReplaysTwice(FakeDriver):
    def replay(self, captured: Any, stream: Stream) -> None:
        super().replay(captured, stream)
        super().replay(captured, stream)


class ReplaysOnTheCapturedStream(FakeDriver):
    captured_on: Stream

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Any]:
        with super().capture(stream) as captured:
            yield captured
        self.captured_on = stream

    def replay(self, captured: Any, stream: Stream) -> None:
        super().replay(captured, self.captured_on)


class CapturesIgnoreErrors(FakeDriver):
    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Any]:
        failed = False
        with super().capture(stream) as captured:
            try:
                yield captured
            except Exception:
                failed = True
        if failed:
            super().replay(captured, stream)


FAULTS: list[Callable[..., FakeDriver]] = [
    StreamsDoNotWait,
    HostDoesNotWait,
    SingleStream,
    ShortCopies,
    ShortCopiesIn,
    ShortCopiesOut,
    NoZeros,
    SharedHostMemory,
    CapturesRunWork,
    ReplaysOnce,
    ReplaysTwice,
    ReplaysOnTheCapturedStream,
    CapturesIgnoreErrors,
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # memory that is freed too early
@pytest.mark.parametrize("faulty", FAULTS)
def test_faults_are_detected(faulty: Callable[..., FakeDriver]) -> None:
    detected_by = []
    for check in (*CHECKS, *CAPTURE_CHECKS):
        try:
            check(faulty(pageable=True), SIZE)
        except AssertionError:
            detected_by.append(check.__name__)
    assert detected_by


# ---- Host arrays.


@pytest.mark.parametrize(
    "values", [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((), np.int64), np.ones((0, 2))]
)
def test_bytes_are_a_view(values: NDArray[Any]) -> None:
    for array in (values, values.T):
        view = bytes_of(array, writable=True)
        assert view.dtype == np.uint8
        assert view.shape == (values.nbytes,)
        assert view.tobytes() == values.tobytes()
        assert np.shares_memory(view, values) == bool(values.size)


def test_arrays_that_copies_cannot_use() -> None:
    with pytest.raises(ValueError, match=r"shape \[2\] have strides \[16\] in bytes, expected contiguous"):
        bytes_of(np.zeros(4)[::2])
    values = np.zeros(4)
    values.flags.writeable = False
    assert bytes_of(values).size == 32
    with pytest.raises(ValueError, match="read-only"):
        bytes_of(values, writable=True)
