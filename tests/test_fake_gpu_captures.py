"""Errors that the fake GPU detects: wrong uses of host memory and of captures."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fake_gpu.driver import FakeDriver, FakeGpuError
from fake_gpu.programs import SIZE, filled_host_memory, zeroed_memory

from latentloop.kernels.driver import LEGACY, MissingGpuError, Stream


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    fake = FakeDriver()
    with fake.use(0):
        yield fake


# ---- Host memory.


def test_pageable_memory_makes_the_host_wait() -> None:
    driver = FakeDriver(pageable=True)
    with driver.use(0):
        stream = driver.stream()
        pointer, values, target = zeroed_memory(driver, stream), np.ones(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
        driver.copy_in(pointer, values, stream)
        values[:] = 2
        driver.copy_out(target, pointer, stream)
        assert (target == 1).all()
        with driver.capture(stream), pytest.raises(FakeGpuError, match="copy_out: not permitted during a capture"):
            driver.copy_out(target, pointer, stream)


def test_a_source_that_changes_during_a_copy(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values = zeroed_memory(driver, stream), filled_host_memory(driver)
    driver.copy_in(pointer, values, stream)
    values[SIZE - 1] += 1
    with pytest.raises(FakeGpuError, match="copy_in: the source changed before the copy finished"):
        driver.synchronize(driver.record(stream))


def test_a_target_that_is_read_before_the_copy_finishes(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, target = zeroed_memory(driver, stream), filled_host_memory(driver)
    early = driver.record(stream)
    driver.copy_out(target, pointer, stream)
    driver.synchronize(early)
    assert target.min() > 0xF0
    driver.synchronize(driver.record(stream))
    assert not target.any()


def test_host_memory_between_two_copies_of_a_stream(driver: FakeDriver) -> None:
    """A copy out and a copy in of the same array in one stream are ordered, without a wait of the host."""
    stream = driver.stream()
    a, b, values, between, target = (
        zeroed_memory(driver, stream),
        zeroed_memory(driver, stream),
        *(filled_host_memory(driver) for _ in range(3)),
    )
    between[:] = 7
    driver.copy_in(a, values, stream)
    driver.copy_out(between, a, stream)
    driver.copy_in(b, between, stream)
    driver.copy_out(target, b, stream)
    driver.copy_out(between, b, stream)
    driver.synchronize(driver.record(stream))
    np.testing.assert_array_equal(target, values)


def test_host_memory_between_copies_of_two_streams(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer, other, between = zeroed_memory(driver, a), zeroed_memory(driver, b), filled_host_memory(driver)
    driver.copy_out(between, pointer, a)
    with pytest.raises(FakeGpuError, match="copy_in: the source: a race with copy_out"):
        driver.copy_in(other, between, b)


def test_host_memory_that_is_freed_during_a_copy(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = zeroed_memory(driver, stream)
    values = filled_host_memory(driver)
    driver.copy_in(pointer, values, stream)
    del values
    gc.collect()
    with pytest.raises(FakeGpuError, match="the source was freed before the copy finished"):
        driver.synchronize(driver.record(stream))


def test_memory_that_is_not_page_locked(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values = zeroed_memory(driver, stream), np.zeros(SIZE, np.uint8)
    with pytest.raises(FakeGpuError, match="copy_in: the host array does not come from host_memory"):
        driver.copy_in(pointer, values, stream)
    with pytest.raises(FakeGpuError, match="copy_out: the host array does not come from host_memory"):
        driver.copy_out(values, pointer, stream)
    page_locked = driver.host_memory(SIZE)
    with pytest.raises(FakeGpuError, match="host memory, expected GPU memory"):
        driver.zero(page_locked.ctypes.data, SIZE, stream)


# ---- Captures.


def test_races_with_a_replay(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    with driver.capture(a) as captured:
        driver.copy(pointer, pointer + 8, 8, a)
        driver.copy(pointer + 16, pointer, 8, a)
    driver.replay(captured, a)
    driver.zero(pointer + 24, 8, b)
    for offset in (0, 8, 16):  # the replay reads and writes, reads, and writes these bytes
        with pytest.raises(FakeGpuError, match="zero: the target: a race with replay"):
            driver.zero(pointer + offset, 8, b)
    driver.copy_out(driver.host_memory(8), pointer + 8, b)
    with pytest.raises(FakeGpuError, match="the source: a race with replay"):
        driver.copy_out(driver.host_memory(8), pointer + 16, b)


def test_a_replay_with_freed_memory(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = zeroed_memory(driver, stream)
    with driver.capture(stream) as captured:
        driver.zero(pointer, SIZE, stream)
    driver.replay(captured, stream)
    driver.free(pointer, stream)
    with pytest.raises(FakeGpuError, match="replay: the target was freed"):
        driver.replay(captured, stream)


def test_a_source_that_changes_during_a_replay(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values, target = zeroed_memory(driver, stream), filled_host_memory(driver), driver.host_memory(SIZE)
    with driver.capture(stream) as captured:
        driver.copy_in(pointer, values, stream)
        driver.copy_out(target, pointer, stream)
    driver.replay(captured, stream)
    assert target.min() > 0xF0
    values[0] += 1
    with pytest.raises(FakeGpuError, match="the source changed before the copy finished"):
        driver.finish()


FORBIDDEN: dict[str, tuple[str, Callable[[FakeDriver, Stream, int], object]]] = {
    "allocation": ("allocate: the stream is being captured", lambda d, s, _: d.allocate(8, s)),
    "free": ("free: the stream is being captured", lambda d, s, p: d.free(p, s)),
    "reading": ("to_host: not permitted during a capture", lambda d, s, p: d.to_host(p, 8, s)),
    "reading on another stream": ("to_host: not permitted", lambda d, _, p: d.to_host(p, 8, LEGACY)),
    "waiting": ("synchronize: not permitted", lambda d, s, _: d.synchronize(d.record(s))),
    "host memory": ("host_memory: not permitted", lambda d, *_: d.host_memory(8)),
    "waiting for another stream": (
        "the event was recorded outside the capture",
        lambda d, s, _: d.wait(s, d.record(LEGACY)),
    ),
    "another stream's wait": (
        "a capture to which the stream does not belong",
        lambda d, s, _: d.wait(LEGACY, d.record(s)),
    ),
    "another capture": ("another capture has not ended", lambda d, *_: d.capture(d.stream()).__enter__()),
    "a replay": ("has not ended, or failed", lambda d, s, _: d.replay(d._captures[s.handle], LEGACY)),
    "memory out of range": ("is not within one allocation", lambda d, s, p: d.zero(p, SIZE + 1, s)),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_calls_that_a_capture_does_not_permit(case: str, driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = zeroed_memory(driver, stream)
    text, call = FORBIDDEN[case]
    with driver.capture(stream) as captured, pytest.raises(FakeGpuError, match=text):
        call(driver, stream, pointer)
    driver.wait(stream, driver.record(LEGACY))  # the stream can be used as before
    driver.replay(captured, stream)


def test_replays_in_a_capture_and_on_another_device() -> None:
    driver = FakeDriver(devices=2)
    with driver.use(0):
        stream, other = driver.stream(), driver.stream()
        with driver.capture(stream) as captured:
            pass
        with driver.capture(other), pytest.raises(FakeGpuError, match="replay: the stream is being captured"):
            driver.replay(captured, other)
    with driver.use(1), pytest.raises(FakeGpuError, match="captured on device 0, current is 1"):
        driver.replay(captured, LEGACY)


def test_captures_that_fail(driver: FakeDriver) -> None:
    with pytest.raises(FakeGpuError, match="the legacy default stream cannot be captured"), driver.capture(LEGACY):
        pass
    stream = driver.stream()
    with pytest.raises(FakeGpuError, match="invalidated"), driver.capture(stream) as captured:
        driver.invalidate_capture(stream)
    with pytest.raises(FakeGpuError, match="has not ended, or failed"):
        driver.replay(captured, stream)
    without_captures = FakeDriver(captures=False)
    with (
        without_captures.use(0),
        pytest.raises(MissingGpuError, match="cuda-python"),
        without_captures.capture(without_captures.stream()),
    ):
        pass


def test_a_wait_within_a_capture(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = zeroed_memory(driver, stream)
    with driver.capture(stream) as captured:
        driver.zero(pointer, SIZE, stream)
        driver.wait(stream, driver.record(stream))
    driver.replay(captured, stream)
    with driver.capture(stream):
        event = driver.record(stream)
    with pytest.raises(FakeGpuError, match="wait: the event was recorded in a capture"):
        driver.wait(LEGACY, event)
    with pytest.raises(FakeGpuError, match="synchronize: the event was recorded in a capture"):
        driver.synchronize(event)
