"""Bytes on the host and on the device, for the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver import DeviceMemory, Driver, Stream

Bytes = NDArray[np.uint8]
Check = Callable[[Driver, int], None]  # of a driver, with copies of so many bytes

DEVICE = 0


def random_bytes(seed: int, size: int) -> Bytes:
    """Returns bytes from 1 to 255, so that none equals zeroed memory."""
    return np.random.default_rng(seed).integers(1, 256, size, np.uint8)


def half_zero(values: Bytes) -> Bytes:
    """Returns a copy whose first half is zero."""
    half = len(values) // 2
    return np.concatenate([np.zeros(half, np.uint8), values[half:]])


def new_stream(driver: Driver) -> Stream:
    """Creates a stream on the device."""
    with driver.use(DEVICE):
        return driver.stream()


def host_array(driver: Driver, size: int, page_locked: bool = True) -> Bytes:
    """Allocates host memory, page-locked or pageable."""
    with driver.use(DEVICE):
        return driver.host_memory(size) if page_locked else np.empty(size, np.uint8)


def random_and_empty(driver: Driver, size: int, page_locked: bool = True) -> tuple[Bytes, Bytes]:
    """Allocates two arrays like ``host_array``: the source of a copy, with random bytes, and its target."""
    source, target = host_array(driver, size, page_locked), host_array(driver, size, page_locked)
    source[:] = random_bytes(1, size)
    return source, target


def fill(driver: Driver, memory: DeviceMemory, values: Bytes, stream: Stream) -> None:
    """Copies values to device memory, and waits for the copy."""
    source = host_array(driver, memory.size)
    source[:] = values
    with driver.use(DEVICE):
        driver.copy_in(memory.pointer, source, stream)
    wait_for(driver, stream)


def read(driver: Driver, memory: DeviceMemory, stream: Stream) -> Bytes:
    """Copies device memory to the host, and waits for the copy."""
    target = host_array(driver, memory.size)
    with driver.use(DEVICE):
        driver.copy_out(target, memory.pointer, stream)
    wait_for(driver, stream)
    return target


def replay(driver: Driver, captured: Any, stream: Stream) -> None:
    """Enqueues captured work."""
    with driver.use(DEVICE):
        driver.replay(captured, stream)


def wait_for(driver: Driver, stream: Stream) -> None:
    """Waits for all work enqueued on the stream."""
    with driver.use(DEVICE):
        driver.synchronize(driver.record(stream))
