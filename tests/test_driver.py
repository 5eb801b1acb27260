"""Drivers do what Driver says, the tests' own too; and the checks notice one that does not."""

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
def test_gpu(name: str) -> None:
    try:
        driver = open_driver(name)
    except MissingGpuError as error:
        pytest.skip(str(error))
    for check in checks_of(driver):
        check(driver, 1 << 24)


# ---- Faults that the checks must notice.


class DeafStreams(FakeDriver):
    def wait(self, stream: Stream, mark: Any) -> None:
        pass


class HastyHost(FakeDriver):
    def synchronize(self, mark: Any) -> None:
        pass


class OneStream(FakeDriver):
    def stream(self) -> Stream:
        return LEGACY


class ShortCopies(FakeDriver):
    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        super().copy(target, source, size - 1, stream)


class ShortFills(FakeDriver):
    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        super().copy_in(pointer, bytes_of(values)[:-1], stream)


class ShortReads(FakeDriver):
    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        super().copy_out(bytes_of(values)[:-1], pointer, stream)


class NoZeros(FakeDriver):
    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        pass


class OneHostArray(FakeDriver):
    def host_memory(self, size: int) -> NDArray[np.uint8]:
        kept = self.__dict__.setdefault("kept", {})
        if size not in kept:
            kept[size] = super().host_memory(size)
        found: NDArray[np.uint8] = kept[size]
        return found


class EagerCaptures(FakeDriver):
    """Does the work while it captures, and again in a replay."""

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Any]:
        with super().capture(stream) as captured:
            yield captured
        super().replay(captured, stream)


class SingleReplays(FakeDriver):
    def replay(self, captured: Any, stream: Stream) -> None:
        if not captured.__dict__.setdefault("replayed", False):
            captured.replayed = True
            super().replay(captured, stream)


class DoubleReplays(FakeDriver):
    def replay(self, captured: Any, stream: Stream) -> None:
        super().replay(captured, stream)
        super().replay(captured, stream)


class ReplaysWhereCaptured(FakeDriver):
    captured_on: Stream

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Any]:
        with super().capture(stream) as captured:
            yield captured
        self.captured_on = stream

    def replay(self, captured: Any, stream: Stream) -> None:
        super().replay(captured, self.captured_on)


class ForgivingCaptures(FakeDriver):
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
    DeafStreams,
    HastyHost,
    OneStream,
    ShortCopies,
    ShortFills,
    ShortReads,
    NoZeros,
    OneHostArray,
    EagerCaptures,
    SingleReplays,
    DoubleReplays,
    ReplaysWhereCaptured,
    ForgivingCaptures,
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # memory that goes at a wrong time
@pytest.mark.parametrize("faulty", FAULTS)
def test_faults_are_noticed(faulty: Callable[..., FakeDriver]) -> None:
    noticed = []
    for check in (*CHECKS, *CAPTURE_CHECKS):
        try:
            check(faulty(pageable=True), SIZE)
        except AssertionError:
            noticed.append(check.__name__)
    assert noticed


# ---- Arrays of the host.


@pytest.mark.parametrize(
    "values", [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((), np.int64), np.ones((0, 2))]
)
def test_bytes_are_a_view(values: NDArray[Any]) -> None:
    for given in (values, values.T):
        found = bytes_of(given, filled=True)
        assert found.dtype == np.uint8
        assert found.shape == (values.nbytes,)
        assert found.tobytes() == values.tobytes()
        assert np.shares_memory(found, values) == bool(values.size)


def test_bytes_that_no_copy_can_use() -> None:
    with pytest.raises(ValueError, match=r"shape \[2\] have strides \[16\] in bytes, expected contiguous"):
        bytes_of(np.zeros(4)[::2])
    values = np.zeros(4)
    values.flags.writeable = False
    assert bytes_of(values).size == 32
    with pytest.raises(ValueError, match="read-only"):
        bytes_of(values, filled=True)
