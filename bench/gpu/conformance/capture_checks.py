"""Checks that every Driver with captures must pass, and one for drivers without."""

from __future__ import annotations

import numpy as np

from latentloop.bench.gpu.conformance.device_bytes import (
    DEVICE,
    Check,
    fill,
    half_zero,
    host_array,
    new_stream,
    random_bytes,
    read,
    replay,
    wait_for,
)
from latentloop.kernels.driver import DeviceMemory, Driver, MissingGpuError


class BodyError(Exception):
    """The error that a captured block raises."""


def check_replays(driver: Driver, size: int) -> None:
    """Captured work does not run during the capture; a replay runs in stream order on the memory's current contents."""
    half = size // 2
    stream, values = new_stream(driver), [random_bytes(turn, size) for turn in range(3)]
    source, target = DeviceMemory(driver, DEVICE, size, stream), DeviceMemory(driver, DEVICE, size, stream)
    fill(driver, source, values[0], stream)
    fill(driver, target, values[1], stream)
    with driver.use(DEVICE), driver.capture(stream) as captured:
        driver.copy(target.pointer, source.pointer, size, stream)
        driver.zero(source.pointer, half, stream)
    np.testing.assert_array_equal(read(driver, source, stream), values[0])
    np.testing.assert_array_equal(read(driver, target, stream), values[1])
    for current in values:
        fill(driver, source, current, stream)
        replay(driver, captured, stream)
        np.testing.assert_array_equal(read(driver, target, stream), current)
        np.testing.assert_array_equal(read(driver, source, stream), half_zero(current))
    for _ in range(2):
        replay(driver, captured, stream)
    assert not read(driver, target, stream)[:half].any()


def check_replays_of_host_copies(driver: Driver, size: int) -> None:
    """A captured copy reads and writes the host array's current contents at each replay."""
    stream = new_stream(driver)
    memory = DeviceMemory(driver, DEVICE, size, stream)
    source, copy = host_array(driver, size), host_array(driver, size)
    source[:] = copy[:] = 7
    wait_for(driver, stream)
    with driver.use(DEVICE), driver.capture(stream) as captured:
        driver.copy_in(memory.pointer, source, stream)
        driver.copy_out(copy, memory.pointer, stream)
    for turn in range(3):
        source[:] = random_bytes(turn, size)
        replay(driver, captured, stream)
        wait_for(driver, stream)
        np.testing.assert_array_equal(copy, source)


def check_replays_on_another_stream(driver: Driver, size: int) -> None:
    """A stream can replay work that was captured on another stream."""
    stream, other = new_stream(driver), new_stream(driver)
    source, target = DeviceMemory(driver, DEVICE, size, stream), DeviceMemory(driver, DEVICE, size, stream)
    with driver.use(DEVICE), driver.capture(stream) as captured:
        driver.copy(target.pointer, source.pointer, size, stream)
    for turn in range(3):
        fill(driver, source, random_bytes(turn, size), stream)
        with driver.use(DEVICE):
            driver.wait(other, driver.record(stream))
            driver.replay(captured, other)
        np.testing.assert_array_equal(read(driver, target, other), random_bytes(turn, size))


def check_captures_one_stream(driver: Driver, size: int) -> None:
    """Work enqueued on another stream during a capture runs, once, and is not captured."""
    half = size // 2
    stream, other = new_stream(driver), new_stream(driver)
    captured_memory, memory = DeviceMemory(driver, DEVICE, size, stream), DeviceMemory(driver, DEVICE, size, other)
    fill(driver, captured_memory, random_bytes(1, size), stream)
    fill(driver, memory, random_bytes(2, size), other)
    with driver.use(DEVICE), driver.capture(stream) as captured:
        driver.zero(memory.pointer, half, other)
        driver.zero(captured_memory.pointer, half, stream)
    np.testing.assert_array_equal(read(driver, memory, other), half_zero(random_bytes(2, size)))
    np.testing.assert_array_equal(read(driver, captured_memory, stream), random_bytes(1, size))
    fill(driver, memory, random_bytes(3, size), other)
    replay(driver, captured, stream)
    np.testing.assert_array_equal(read(driver, captured_memory, stream), half_zero(random_bytes(1, size)))
    np.testing.assert_array_equal(read(driver, memory, other), random_bytes(3, size))


def check_discards(driver: Driver, size: int) -> None:
    """An error in a captured block is raised; its work is discarded, and the stream can capture again."""
    half = size // 2
    stream = new_stream(driver)
    memory = DeviceMemory(driver, DEVICE, size, stream)
    fill(driver, memory, random_bytes(1, size), stream)
    try:
        with driver.use(DEVICE), driver.capture(stream):
            driver.zero(memory.pointer, size, stream)
            raise BodyError
    except BodyError:
        pass
    else:
        raise AssertionError("the error of the captured block was not raised")
    np.testing.assert_array_equal(read(driver, memory, stream), random_bytes(1, size))
    with driver.use(DEVICE), driver.capture(stream) as captured:
        driver.zero(memory.pointer, half, stream)
    replay(driver, captured, stream)
    np.testing.assert_array_equal(read(driver, memory, stream), half_zero(random_bytes(1, size)))


def check_refuses_captures(driver: Driver, size: int) -> None:
    """A driver without captures raises MissingGpuError, which names a driver that has them."""
    stream = new_stream(driver)
    try:
        with driver.use(DEVICE), driver.capture(stream):
            raise AssertionError("a driver without captures has captured")
    except MissingGpuError as error:
        reason = str(error)
    assert "cuda-python" in reason


CAPTURE_CHECKS: tuple[Check, ...] = (
    check_replays,
    check_replays_of_host_copies,
    check_replays_on_another_stream,
    check_captures_one_stream,
    check_discards,
)
