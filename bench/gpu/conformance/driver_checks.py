"""Checks that every Driver must pass, on the tests' fake drivers and on a GPU; ``checks_of`` returns all of them.

Each is a function of a driver and the size of copies, which raises AssertionError. A size that takes a GPU some
milliseconds to copy reveals a missing wait.
"""

from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np

from latentloop.bench.gpu.conformance.capture_checks import CAPTURE_CHECKS, check_refuses_captures
from latentloop.bench.gpu.conformance.device_bytes import (
    DEVICE,
    Check,
    fill,
    host_array,
    new_stream,
    random_and_empty,
    random_bytes,
    read,
    wait_for,
)
from latentloop.kernels.driver import LEGACY, DeviceMemory, Driver


def check_device(driver: Driver, size: int) -> None:
    """The driver has a name, a device, multiprocessors, a compute capability, and the device a name."""
    assert driver.name
    assert driver.devices() >= 1
    with driver.use(DEVICE):
        assert driver.multiprocessors() >= 1
        assert driver.model().strip()
        major, minor = driver.capability()
        assert major >= 3
        assert 0 <= minor <= 9


def check_allocation(driver: Driver, size: int) -> None:
    """Allocations are aligned, do not overlap, belong to the device, and are freed in stream order."""
    stream = new_stream(driver)
    memories = [DeviceMemory(driver, DEVICE, each, stream) for each in (1, 255, 257, size)]
    assert all(memory.pointer % 256 == 0 for memory in memories)
    ranges = sorted((memory.pointer, memory.pointer + memory.size) for memory in memories)
    assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
    assert driver.device_of(memories[-1].pointer + size - 1) == DEVICE
    with driver.use(DEVICE):
        copy = driver.host_memory(size)
    for turn in range(3):  # a later allocation can reuse the freed memory
        memory, values = DeviceMemory(driver, DEVICE, size, stream), random_bytes(turn, size)
        fill(driver, memory, values, stream)
        with driver.use(DEVICE):
            driver.copy_out(copy, memory.pointer, stream)
        del memory
        other = DeviceMemory(driver, DEVICE, size, stream)
        with driver.use(DEVICE):
            driver.zero(other.pointer, size, stream)
        wait_for(driver, stream)
        np.testing.assert_array_equal(copy, values)


def check_foreign_memory(driver: Driver, size: int) -> None:
    """Host memory belongs to no device."""
    try:
        driver.device_of(np.zeros(16, np.uint8).ctypes.data)
    except ValueError:
        return
    raise AssertionError("device_of accepts NumPy's memory")


def check_copies(driver: Driver, size: int) -> None:
    """Partial copies in, within and out of device memory, zeros and to_host, with page-locked and pageable memory."""
    half = size // 2
    for stream in (new_stream(driver), LEGACY):
        for page_locked in (True, False):
            values, copy = random_and_empty(driver, size, page_locked)
            a, b = DeviceMemory(driver, DEVICE, size, stream), DeviceMemory(driver, DEVICE, size, stream)
            with driver.use(DEVICE):
                driver.copy_in(a.pointer, values, stream)
                driver.zero(b.pointer, size, stream)
                driver.copy(b.pointer + 8, a.pointer + half, 100, stream)
                driver.copy_in(b.pointer + half, values[:64], stream)
                driver.zero(a.pointer + 16, 32, stream)
                copy[:] = 7
                driver.copy_out(copy[1:half], b.pointer + 1, stream)
                assert driver.to_host(b.pointer + half - 1, 66, stream) == b"\0" + values[:64].tobytes() + b"\0"
            expected = np.zeros(size, np.uint8)
            expected[0] = expected[half:] = 7  # not copied
            expected[8:108] = values[half : half + 100]
            np.testing.assert_array_equal(copy, expected)
            zeroed = values.copy()
            zeroed[16:48] = 0
            np.testing.assert_array_equal(read(driver, a, stream), zeroed)


def check_types(driver: Driver, size: int) -> None:
    """Arrays of several dimensions and any type are copied as their bytes."""
    stream = new_stream(driver)
    values = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    memory, copy = DeviceMemory(driver, DEVICE, values.nbytes, stream), np.zeros((3, 10), np.float32)
    with driver.use(DEVICE):
        driver.copy_in(memory.pointer, values, stream)
        driver.copy_out(copy, memory.pointer, stream)
    wait_for(driver, stream)
    np.testing.assert_array_equal(copy.reshape(values.shape), values)


def check_order_in_a_stream(driver: Driver, size: int) -> None:
    """Work on one stream runs in order."""
    stream = new_stream(driver)
    first, second, x_copy, y_copy = (host_array(driver, size) for _ in range(4))
    first[:], second[:] = random_bytes(1, size), random_bytes(2, size)
    x, y = DeviceMemory(driver, DEVICE, size, stream), DeviceMemory(driver, DEVICE, size, stream)
    with driver.use(DEVICE):
        for _ in range(4):  # each call overwrites results of the one before
            driver.copy_in(x.pointer, first, stream)
            driver.copy(y.pointer, x.pointer, size, stream)
            driver.zero(x.pointer, size, stream)
            driver.copy_in(x.pointer, second, stream)
        driver.copy_out(x_copy, x.pointer, stream)
        driver.copy_out(y_copy, y.pointer, stream)
    wait_for(driver, stream)
    np.testing.assert_array_equal(x_copy, second)
    np.testing.assert_array_equal(y_copy, first)


def check_waits_between_streams(driver: Driver, size: int) -> None:
    """Work that waits for an event sees all work before the event, and runs before work that waits for it in turn."""
    writer, reader = new_stream(driver), new_stream(driver)
    assert writer.handle != reader.handle
    memory = DeviceMemory(driver, DEVICE, size, writer)
    sources, copies = [host_array(driver, size) for _ in range(4)], [host_array(driver, size) for _ in range(4)]
    with driver.use(DEVICE):
        for turn, values in enumerate(sources):
            values[:] = random_bytes(turn, size)
            driver.copy_in(memory.pointer, values, writer)
            driver.wait(reader, driver.record(writer))
            driver.copy_out(copies[turn], memory.pointer, reader)
            driver.wait(writer, driver.record(reader))
    wait_for(driver, reader)
    for values, copy in zip(sources, copies, strict=True):
        np.testing.assert_array_equal(copy, values)
    memory.record_stream(reader)


def check_waits_with_the_legacy_stream(driver: Driver, size: int) -> None:
    """A stream and the legacy default stream can wait for each other."""
    stream = new_stream(driver)
    memory = DeviceMemory(driver, DEVICE, size, LEGACY)
    values, copy = random_and_empty(driver, size)
    with driver.use(DEVICE):
        driver.copy_in(memory.pointer, values, LEGACY)
        driver.wait(stream, driver.record(LEGACY))
        driver.copy_out(copy, memory.pointer, stream)
        driver.wait(LEGACY, driver.record(stream))
        driver.zero(memory.pointer, size, LEGACY)
    wait_for(driver, LEGACY)
    np.testing.assert_array_equal(copy, values)


def check_events(driver: Driver, size: int) -> None:
    """An event covers the work before it, or none; it can be waited for twice, and after its stream was destroyed."""
    stream, idle = new_stream(driver), new_stream(driver)
    memory = DeviceMemory(driver, DEVICE, size, stream)
    values, copy = random_and_empty(driver, size)
    wait_for(driver, idle)
    with driver.use(DEVICE):
        driver.wait(stream, driver.record(idle))
        driver.copy_in(memory.pointer, values, stream)
        driver.copy_out(copy, memory.pointer, stream)
        event = driver.record(stream)
        driver.zero(memory.pointer, size, stream)
        driver.synchronize(event)
        np.testing.assert_array_equal(copy, values)
        driver.synchronize(event)
    assert not read(driver, memory, stream).any()
    del memory, stream, idle
    gc.collect()
    with driver.use(DEVICE):
        driver.synchronize(event)


def check_streams_end(driver: Driver, size: int) -> None:
    """Pending work completes after its stream was destroyed."""
    stream = new_stream(driver)
    memory = DeviceMemory(driver, DEVICE, size, LEGACY)
    values, copy = random_and_empty(driver, size)
    with driver.use(DEVICE):
        driver.wait(stream, driver.record(LEGACY))
        driver.copy_in(memory.pointer, values, stream)
        driver.copy_out(copy, memory.pointer, stream)
        event = driver.record(stream)
        del stream
        gc.collect()
        driver.synchronize(event)
    np.testing.assert_array_equal(copy, values)


def check_host_memory(driver: Driver, size: int) -> None:
    """Page-locked memory is an ordinary array, and is freed after the last view of it."""
    with driver.use(DEVICE):
        memory = driver.host_memory(24)
        assert memory.shape == (24,)
        assert memory.dtype == np.uint8
        assert memory.flags.c_contiguous
        assert memory.flags.writeable
        memory[:] = np.arange(24)
        view = memory[8:].view(np.int64).reshape(2, 1)
        expected = view.copy()
        del memory
        gc.collect()
        others = [driver.host_memory(24) for _ in range(8)]  # none of them may reuse that memory
    for other in others:
        other[:] = 0
    np.testing.assert_array_equal(view, expected)


CHECKS: tuple[Check, ...] = (
    check_device,
    check_allocation,
    check_foreign_memory,
    check_copies,
    check_types,
    check_order_in_a_stream,
    check_waits_between_streams,
    check_waits_with_the_legacy_stream,
    check_events,
    check_streams_end,
    check_host_memory,
)


def checks_of(driver: Driver) -> tuple[Check, ...]:
    """Returns all checks that apply to the driver."""
    return CHECKS + (CAPTURE_CHECKS if driver.can_capture else (check_refuses_captures,))
