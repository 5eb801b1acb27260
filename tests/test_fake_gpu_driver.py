"""The GPU that the host plays forgives nothing: streams, and memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fake_gpu.driver import FakeDriver, FakeGpuError, Range
from fake_gpu.programs import SIZE, filled, ready

from latentloop.kernels.driver import LEGACY, Stream

HALF = SIZE // 2


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    made = FakeDriver()
    with made.use(0):
        yield made


# ---- Streams.


@pytest.mark.parametrize("waits", [True, False])
def test_streams_in_no_order(waits: bool, driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer, values = ready(driver, a), filled(driver)
    driver.copy_in(pointer, values, a)
    got = driver.host_memory(SIZE)
    if waits:
        driver.wait(b, driver.record(a))
        driver.copy_out(got, pointer, b)
        driver.synchronize(driver.record(b))
        np.testing.assert_array_equal(got, values)
    else:
        with pytest.raises(FakeGpuError, match="copy_out: the source may be used before or after copy_in is done"):
            driver.copy_out(got, pointer, b)


def test_a_mark_is_of_the_work_before_it(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = ready(driver, a)
    mark = driver.record(a)
    driver.zero(pointer, SIZE, a)
    driver.wait(b, mark)
    with pytest.raises(FakeGpuError, match="before or after zero is done"):
        driver.zero(pointer, SIZE, b)


def test_order_through_a_third_stream_and_the_host(driver: FakeDriver) -> None:
    a, b, c = driver.stream(), driver.stream(), driver.stream()
    pointer = ready(driver, a)
    driver.zero(pointer, SIZE, a)
    driver.wait(b, driver.record(a))
    driver.wait(c, driver.record(b))  # b has no work of its own
    driver.zero(pointer, SIZE, c)
    driver.synchronize(driver.record(c))
    driver.zero(pointer, SIZE, b)


def test_streams_share_what_they_only_read(driver: FakeDriver) -> None:
    streams = [driver.stream() for _ in range(3)]
    pointer = ready(driver, streams[0])
    for stream in streams[1:]:
        driver.copy_out(driver.host_memory(SIZE), pointer, stream)
    with pytest.raises(FakeGpuError, match="before or after copy_out is done"):
        driver.zero(pointer, SIZE, streams[0])
    for stream in streams[1:]:
        driver.wait(streams[0], driver.record(stream))
    driver.zero(pointer, SIZE, streams[0])


def test_parts_of_one_allocation(driver: FakeDriver) -> None:
    """Bytes that differ are no conflict, and one byte in common is."""
    a, b = driver.stream(), driver.stream()
    pointer = ready(driver, a)
    driver.zero(pointer, HALF, a)
    driver.zero(pointer + HALF, HALF, b)
    with pytest.raises(FakeGpuError):
        driver.zero(pointer + HALF - 1, 1, b)
    driver.copy(pointer, pointer + HALF - 1 - 100, 100, a)
    with pytest.raises(FakeGpuError):
        driver.copy_out(driver.host_memory(2), pointer + HALF - 1, a)


def test_a_stream_that_went(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer, handle = ready(driver, stream), stream.handle
    driver.zero(pointer, SIZE, Stream(handle))  # a bare number, while its stream is there
    del stream
    gc.collect()
    with pytest.raises(FakeGpuError, match="was destroyed"):
        driver.zero(pointer, SIZE, Stream(handle))


USES: dict[str, Callable[[FakeDriver, Stream], object]] = {
    "work": lambda d, s: d.zero(0, 0, s),
    "mark": lambda d, s: d.record(s),
    "wait": lambda d, s: d.wait(s, {}),
    "capture": lambda d, s: d.capture(s).__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_uses_of_a_stream(use: str, driver: FakeDriver) -> None:
    """Of one that went, and without a current device."""
    handle = driver.stream().handle
    gc.collect()
    with pytest.raises(FakeGpuError, match="was destroyed"):
        USES[use](driver, Stream(handle))
    with pytest.raises(FakeGpuError, match="no device is current"):
        USES[use](FakeDriver(), LEGACY if use != "capture" else Stream(5))


@pytest.mark.parametrize("call", ["context", "multiprocessors", "capability", "stream"])
def test_what_a_device_must_be_current_for(call: str) -> None:
    driver = FakeDriver(devices=2)
    with pytest.raises(FakeGpuError, match="no device is current"):
        getattr(driver, call)()
    with pytest.raises(FakeGpuError, match="no device is current"):
        driver.synchronize({})
    for number in (-1, 2):
        with pytest.raises(FakeGpuError, match=f"device {number} of 2"), driver.use(number):
            pass


# ---- Memory.


def test_memory_that_nobody_wrote_is_no_number(driver: FakeDriver) -> None:
    for dtype in (np.float32, np.float16):
        pointer, stream = driver.allocate(SIZE, LEGACY), LEGACY
        assert np.isnan(np.frombuffer(driver.to_host(pointer, SIZE, stream), dtype)).all()
    assert (np.frombuffer(driver.to_host(pointer, SIZE, stream), np.int64) < 0).all()


def test_memory_that_is_not_there(driver: FakeDriver) -> None:
    stream = driver.stream()
    pointer = ready(driver, stream)
    for start, size in ((-1, 1), (SIZE - 1, 2), (0, SIZE + 1)):
        with pytest.raises(FakeGpuError, match="does not lie in one allocation"):
            driver.zero(pointer + start, size, stream)
    with pytest.raises(FakeGpuError, match="overlap"):
        driver.copy(pointer + 8, pointer, 9, stream)
    driver.free(pointer, stream)
    with pytest.raises(FakeGpuError, match="zeroed was freed"):
        driver.zero(pointer, SIZE, stream)
    with pytest.raises(FakeGpuError, match="it was freed"):
        driver.free(pointer, stream)


def test_allocations_and_their_ends_are_work(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = driver.allocate(SIZE, a)
    with pytest.raises(FakeGpuError, match="before or after allocate is done"):
        driver.zero(pointer, SIZE, b)
    for wrong, stream, text in (
        (pointer + 1, a, "never allocated"),
        (driver.put(np.ones(4)), a, "never"),
        (pointer, b, "another stream"),
    ):
        with pytest.raises(FakeGpuError, match=text):
            driver.free(wrong, stream)
    driver.zero(pointer, SIZE, a)
    block = driver.blocks.find(pointer, SIZE)
    assert block is not None
    driver.free(pointer, a)
    driver.finish()
    assert np.isnan(block.inside.view(np.float32)).all()
    for none in (driver.allocate, lambda size, _: driver.host_memory(size)):
        with pytest.raises(FakeGpuError, match="0 bytes"):
            none(0, a)


@pytest.mark.parametrize("freed", [False, True])
def test_writing_beside_an_allocation(freed: bool, driver: FakeDriver) -> None:
    pointer = ready(driver, LEGACY)

    def write() -> None:
        block = driver.blocks.find(pointer, SIZE)
        assert block is not None
        block.data[-1] = 0

    driver.enqueue("a kernel", LEGACY, write, [Range("all", pointer, SIZE, True)])
    if freed:
        driver.free(pointer, LEGACY)
    with pytest.raises(FakeGpuError, match="written beside an allocation"):
        driver.synchronize(driver.record(LEGACY)) if freed else driver.finish()


def test_freed_while_in_use(driver: FakeDriver) -> None:
    a, b = driver.stream(), driver.stream()
    pointer = ready(driver, a)
    driver.copy_out(driver.host_memory(SIZE), pointer, b)
    with pytest.raises(FakeGpuError, match="free: it may be used before or after copy_out is done"):
        driver.free(pointer, a)


def test_the_wrong_device() -> None:
    driver = FakeDriver(devices=2)
    with pytest.raises(FakeGpuError, match="no device is current"):
        driver.stream()
    with driver.use(0):
        pointer = driver.allocate(SIZE, LEGACY)
    with driver.use(1), pytest.raises(FakeGpuError, match="zeroed is on device 0, current is 1"):
        driver.zero(pointer, SIZE, LEGACY)


# ---- How much it costs.


def test_a_long_run_stays_small(driver: FakeDriver) -> None:
    """What is kept of accesses is bound by how memory is divided, not by how much work there was."""
    a, b = driver.stream(), driver.stream()
    pointer = ready(driver, a)
    for turn in range(500):
        driver.copy(pointer + 32 * (turn % 31), pointer + 32 * ((turn + 1) % 31), 32, a)
        driver.wait(b, driver.record(a))
        driver.zero(pointer + 31 * 32, 32, b)
    block = driver.blocks.find(pointer, SIZE)
    assert block is not None
    assert len(block.accesses._segments) <= 32
    driver.finish()
    assert len(driver.order.everything()) == 2
