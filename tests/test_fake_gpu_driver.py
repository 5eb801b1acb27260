"""Errors that the fake GPU detects: races between streams, and wrong uses of memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fake_gpu.driver import Access, FakeDriver, FakeGpuError
from fake_gpu.programs import SIZE, filled_host_memory, zeroed_memory

from latentloop.kernels.driver import LEGACY, Stream

HALF = SIZE // 2


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    fake = FakeDriver()
    with fake.use(0):
        yield fake


# ---- Streams.


@pytest.mark.parametrize("waits", [True, False])
def test_a_read_on_another_stream(waits: bool, driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer, values = zeroed_memory(driver, a), filled_host_memory(driver)
    driver.copy_in(pointer, values, a)
    target = driver.host_memory(SIZE)
    if waits:
        driver.wait(b, driver.record(a))
        driver.copy_out(target, pointer, b)
        driver.synchronize(driver.record(b))
        np.testing.assert_array_equal(target, values)
    else:
        with pytest.raises(FakeGpuError, match="copy_out: the source: a race with copy_in"):
            driver.copy_out(target, pointer, b)


def test_an_event_is_after_the_earlier_work_only(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    event = driver.record(a)
    driver.zero(pointer, SIZE, a)
    driver.wait(b, event)
    with pytest.raises(FakeGpuError, match="a race with zero"):
        driver.zero(pointer, SIZE, b)


def test_order_through_a_third_stream_and_the_host(driver: FakeDriver) -> None:
    a, b, c = driver.stream(), driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    driver.zero(pointer, SIZE, a)
    driver.wait(b, driver.record(a))
    driver.wait(c, driver.record(b))  # b has no work of its own
    driver.zero(pointer, SIZE, c)
    driver.synchronize(driver.record(c))
    driver.zero(pointer, SIZE, b)


def test_several_streams_may_read(driver: FakeDriver) -> None:
    streams = [driver.stream() for _ in range(3)]
    pointer = zeroed_memory(driver, streams[0])
    for stream in streams[1:]:
        driver.copy_out(driver.host_memory(SIZE), pointer, stream)
    with pytest.raises(FakeGpuError, match="a race with copy_out"):
        driver.zero(pointer, SIZE, streams[0])
    for stream in streams[1:]:
        driver.wait(streams[0], driver.record(stream))
    driver.zero(pointer, SIZE, streams[0])


def test_parts_of_one_allocation(driver: FakeDriver) -> None:
    """Accesses to different bytes are no race; one common byte is."""
    a, b = driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    driver.zero(pointer, HALF, a)
    driver.zero(pointer + HALF, HALF, b)
    with pytest.raises(FakeGpuError):
        driver.zero(pointer + HALF - 1, 1, b)
    driver.copy(pointer, pointer + HALF - 1 - 100, 100, a)
    with pytest.raises(FakeGpuError):
        driver.copy_out(driver.host_memory(2), pointer + HALF - 1, a)


def test_a_destroyed_stream(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, handle = zeroed_memory(driver, stream), stream.handle
    driver.zero(pointer, SIZE, Stream(handle))  # only the handle, while its stream exists
    del stream
    gc.collect()
    with pytest.raises(FakeGpuError, match="was destroyed"):
        driver.zero(pointer, SIZE, Stream(handle))


USES: dict[str, Callable[[FakeDriver, Stream], object]] = {
    "work": lambda d, s: d.zero(0, 0, s),
    "event": lambda d, s: d.record(s),
    "wait": lambda d, s: d.wait(s, {}),
    "capture": lambda d, s: d.capture(s).__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_uses_of_a_stream(use: str, driver: FakeDriver) -> None:
    """With a destroyed stream, and without a current device."""
    handle = driver.stream().handle
    gc.collect()
    with pytest.raises(FakeGpuError, match="was destroyed"):
        USES[use](driver, Stream(handle))
    with pytest.raises(FakeGpuError, match="no device is current"):
        USES[use](FakeDriver(), LEGACY if use != "capture" else Stream(5))


@pytest.mark.parametrize("call", ["context", "multiprocessors", "capability", "stream"])
def test_calls_that_need_a_current_device(call: str) -> None:
    driver = FakeDriver(devices=2)
    with pytest.raises(FakeGpuError, match="no device is current"):
        getattr(driver, call)()
    with pytest.raises(FakeGpuError, match="no device is current"):
        driver.synchronize({})
    for number in (-1, 2):
        with pytest.raises(FakeGpuError, match=f"device {number} of 2"), driver.use(number):
            pass


# ---- Memory.


def test_uninitialised_memory_is_nan(driver: FakeDriver) -> None:
    for dtype in (np.float32, np.float16):
        pointer, stream = driver.allocate(SIZE, LEGACY), LEGACY
        assert np.isnan(np.frombuffer(driver.to_host(pointer, SIZE, stream), dtype)).all()
    assert (np.frombuffer(driver.to_host(pointer, SIZE, stream), np.int64) < 0).all()


def test_memory_outside_an_allocation(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = zeroed_memory(driver, stream)
    for start, size in ((-1, 1), (SIZE - 1, 2), (0, SIZE + 1)):
        with pytest.raises(FakeGpuError, match="is not within one allocation"):
            driver.zero(pointer + start, size, stream)
    with pytest.raises(FakeGpuError, match="overlap"):
        driver.copy(pointer + 8, pointer, 9, stream)
    driver.free(pointer, stream)
    with pytest.raises(FakeGpuError, match="the target was freed"):
        driver.zero(pointer, SIZE, stream)
    with pytest.raises(FakeGpuError, match="the allocation was freed"):
        driver.free(pointer, stream)


def test_allocate_and_free_are_ordered_with_work(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = driver.allocate(SIZE, a)
    with pytest.raises(FakeGpuError, match="a race with allocate"):
        driver.zero(pointer, SIZE, b)
    for wrong, stream, text in (
        (pointer + 1, a, "never allocated"),
        (driver.put(np.ones(4)), a, "never"),
        (pointer, b, "another stream"),
    ):
        with pytest.raises(FakeGpuError, match=text):
            driver.free(wrong, stream)
    driver.zero(pointer, SIZE, a)
    allocation = driver.allocations.find(pointer, SIZE)
    assert allocation is not None
    driver.free(pointer, a)
    driver.finish()
    assert np.isnan(allocation.data.view(np.float32)).all()
    for allocate in (driver.allocate, lambda size, _: driver.host_memory(size)):
        with pytest.raises(FakeGpuError, match="0 bytes"):
            allocate(0, a)


@pytest.mark.parametrize("freed", [False, True])
def test_a_write_outside_an_allocation(freed: bool, driver: FakeDriver) -> None:
    pointer = zeroed_memory(driver, LEGACY)

    def write() -> None:
        allocation = driver.allocations.find(pointer, SIZE)
        assert allocation is not None
        allocation.data_with_guards[-1] = 0

    driver.enqueue("a kernel", LEGACY, write, [Access("all", pointer, SIZE, True)])
    if freed:
        driver.free(pointer, LEGACY)
    with pytest.raises(FakeGpuError, match="a write outside an allocation"):
        driver.synchronize(driver.record(LEGACY)) if freed else driver.finish()


def test_memory_that_is_freed_during_its_use(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    driver.copy_out(driver.host_memory(SIZE), pointer, b)
    with pytest.raises(FakeGpuError, match="free: the allocation: a race with copy_out"):
        driver.free(pointer, a)


def test_the_wrong_device() -> None:
    driver = FakeDriver(devices=2)
    with pytest.raises(FakeGpuError, match="no device is current"):
        driver.stream()
    with driver.use(0):
        pointer = driver.allocate(SIZE, LEGACY)
    with driver.use(1), pytest.raises(FakeGpuError, match="the target is on device 0, current is 1"):
        driver.zero(pointer, SIZE, LEGACY)


# ---- Cost.


def test_the_access_history_does_not_grow_with_the_work(driver: FakeDriver) -> None:
    """The number of segments depends on the ranges of the accesses, not on the amount of work."""
    a, b = driver.stream(), driver.stream()
    pointer = zeroed_memory(driver, a)
    for repeat in range(500):
        driver.copy(pointer + 32 * (repeat % 31), pointer + 32 * ((repeat + 1) % 31), 32, a)
        driver.wait(b, driver.record(a))
        driver.zero(pointer + 31 * 32, 32, b)
    allocation = driver.allocations.find(pointer, SIZE)
    assert allocation is not None
    assert len(allocation.history._segments) <= 32
    driver.finish()
    assert len(driver.scheduler.everything()) == 2
