"""The GPU that the host plays forgives nothing: the host's own memory, and captures."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fake_gpu.driver import FakeDriver, FakeGpuError
from fake_gpu.programs import SIZE, filled, ready

from latentloop.kernels.driver import LEGACY, MissingGpuError, Stream


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    made = FakeDriver()
    with made.use(0):
        yield made


# ---- The host.


def test_pageable_memory_makes_the_host_wait() -> None:
    driver = FakeDriver(pageable=True)
    with driver.use(0):
        stream = driver.stream()
        pointer, values, got = ready(driver, stream), np.ones(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
        driver.copy_in(pointer, values, stream)
        values[:] = 2
        driver.copy_out(got, pointer, stream)
        assert (got == 1).all()
        with driver.capture(stream), pytest.raises(FakeGpuError, match="copy_out: not while"):
            driver.copy_out(got, pointer, stream)


def test_a_host_that_changes_what_is_being_copied(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values = ready(driver, stream), filled(driver)
    driver.copy_in(pointer, values, stream)
    values[SIZE - 1] += 1
    with pytest.raises(FakeGpuError, match="copy_in: the source changed before the copy was done"):
        driver.synchronize(driver.record(stream))


def test_a_host_that_reads_too_early(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, got = ready(driver, stream), filled(driver)
    early = driver.record(stream)
    driver.copy_out(got, pointer, stream)
    driver.synchronize(early)
    assert got.min() > 0xF0
    driver.synchronize(driver.record(stream))
    assert not got.any()


def test_host_memory_in_a_pipeline(driver: FakeDriver) -> None:
    """Out and in again through one place without the host between is in order, and nothing is wrong with it."""
    stream = driver.stream()
    a, b, values, between, got = ready(driver, stream), ready(driver, stream), *(filled(driver) for _ in range(3))
    between[:] = 7
    driver.copy_in(a, values, stream)
    driver.copy_out(between, a, stream)
    driver.copy_in(b, between, stream)
    driver.copy_out(got, b, stream)
    driver.copy_out(between, b, stream)
    driver.synchronize(driver.record(stream))
    np.testing.assert_array_equal(got, values)


def test_host_memory_between_streams(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer, other, between = ready(driver, a), ready(driver, b), filled(driver)
    driver.copy_out(between, pointer, a)
    with pytest.raises(FakeGpuError, match="copy_in: the source may be used before or after copy_out is done"):
        driver.copy_in(other, between, b)


def test_host_memory_that_went_too_early(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = ready(driver, stream)
    values = filled(driver)
    driver.copy_in(pointer, values, stream)
    del values
    gc.collect()
    with pytest.raises(FakeGpuError, match="the source was given back before the copy was done"):
        driver.synchronize(driver.record(stream))


def test_memory_that_is_not_page_locked(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values = ready(driver, stream), np.zeros(SIZE, np.uint8)
    with pytest.raises(FakeGpuError, match="copy_in: the host's array is not of host_memory"):
        driver.copy_in(pointer, values, stream)
    with pytest.raises(FakeGpuError, match="copy_out: the host's array is not of host_memory"):
        driver.copy_out(values, pointer, stream)
    page_locked = driver.host_memory(SIZE)
    with pytest.raises(FakeGpuError, match="the host's memory, expected a GPU's"):
        driver.zero(page_locked.ctypes.data, SIZE, stream)


# ---- Captures.


def test_a_replay_conflicts_by_its_bytes(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = ready(driver, a)
    with driver.capture(a) as captured:
        driver.copy(pointer, pointer + 8, 8, a)
        driver.copy(pointer + 16, pointer, 8, a)
    driver.replay(captured, a)
    driver.zero(pointer + 24, 8, b)
    for touched in (0, 8, 16):  # changed and read, read, changed
        with pytest.raises(FakeGpuError, match="zeroed may be used before or after replay is done"):
            driver.zero(pointer + touched, 8, b)
    driver.copy_out(driver.host_memory(8), pointer + 8, b)
    with pytest.raises(FakeGpuError, match="the source may be used before or after replay is done"):
        driver.copy_out(driver.host_memory(8), pointer + 16, b)


def test_a_replay_of_memory_that_went(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = ready(driver, stream)
    with driver.capture(stream) as captured:
        driver.zero(pointer, SIZE, stream)
    driver.replay(captured, stream)
    driver.free(pointer, stream)
    with pytest.raises(FakeGpuError, match="replay: zeroed was freed"):
        driver.replay(captured, stream)


def test_a_replay_that_finds_the_host_meddling(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, values, got = ready(driver, stream), filled(driver), driver.host_memory(SIZE)
    with driver.capture(stream) as captured:
        driver.copy_in(pointer, values, stream)
        driver.copy_out(got, pointer, stream)
    driver.replay(captured, stream)
    assert got.min() > 0xF0
    values[0] += 1
    with pytest.raises(FakeGpuError, match="the source changed before the copy was done"):
        driver.finish()


FORBIDDEN: dict[str, tuple[str, Callable[[FakeDriver, Stream, int], object]]] = {
    "allocation": ("allocate: the stream is being captured", lambda d, s, _: d.allocate(8, s)),
    "free": ("free: the stream is being captured", lambda d, s, p: d.free(p, s)),
    "reading": ("to_host: not while", lambda d, s, p: d.to_host(p, 8, s)),
    "reading on another stream": ("to_host: not while", lambda d, _, p: d.to_host(p, 8, LEGACY)),
    "waiting": ("synchronize: not while", lambda d, s, _: d.synchronize(d.record(s))),
    "host memory": ("host_memory: not while", lambda d, *_: d.host_memory(8)),
    "another stream's work": ("the mark is of work that is not", lambda d, s, _: d.wait(s, d.record(LEGACY))),
    "joining": ("the stream is not part of that capture", lambda d, s, _: d.wait(LEGACY, d.record(s))),
    "another capture": ("another one has not ended", lambda d, *_: d.capture(d.stream()).__enter__()),
    "unended": ("has not ended, or failed", lambda d, s, _: d.replay(d._captures[s.handle], LEGACY)),
    "out of range": ("does not lie in one allocation", lambda d, s, p: d.zero(p, SIZE + 1, s)),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_not_in_a_capture(what: str, driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = ready(driver, stream)
    text, call = FORBIDDEN[what]
    with driver.capture(stream) as captured, pytest.raises(FakeGpuError, match=text):
        call(driver, stream, pointer)
    driver.wait(stream, driver.record(LEGACY))  # the stream is as before
    driver.replay(captured, stream)


def test_replays_where_they_cannot_be() -> None:
    driver = FakeDriver(devices=2)
    with driver.use(0):
        stream, other = driver.stream(), driver.stream()
        with driver.capture(stream) as captured:
            pass
        with driver.capture(other), pytest.raises(FakeGpuError, match="replay: the stream is being captured"):
            driver.replay(captured, other)
    with driver.use(1), pytest.raises(FakeGpuError, match="captured on device 0, current is 1"):
        driver.replay(captured, LEGACY)


def test_captures_that_are_none(driver: FakeDriver) -> None:
    with pytest.raises(FakeGpuError, match="the legacy default stream cannot be captured"), driver.capture(LEGACY):
        pass
    stream = driver.stream()
    with pytest.raises(FakeGpuError, match="invalidated"), driver.capture(stream) as captured:
        driver.spoil_capture(stream)
    with pytest.raises(FakeGpuError, match="has not ended, or failed"):
        driver.replay(captured, stream)
    without = FakeDriver(captures=False)
    with without.use(0), pytest.raises(MissingGpuError, match="cuda-python"), without.capture(without.stream()):
        pass


def test_a_wait_within_a_capture(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = ready(driver, stream)
    with driver.capture(stream) as captured:
        driver.zero(pointer, SIZE, stream)
        driver.wait(stream, driver.record(stream))
    driver.replay(captured, stream)
    with driver.capture(stream):
        mark = driver.record(stream)
    with pytest.raises(FakeGpuError, match="the mark is of captured work"):
        driver.wait(LEGACY, mark)
    with pytest.raises(FakeGpuError, match="the mark is of captured work"):
        driver.synchronize(mark)
