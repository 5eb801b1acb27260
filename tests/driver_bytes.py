"""Bytes on the host and on a device, for checks of drivers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver import Driver, Memory, Stream

Bytes = NDArray[np.uint8]
Check = Callable[[Driver, int], None]  # the bytes of each copy

DEVICE = 0


def random_bytes(seed: int, size: int) -> Bytes:
    return np.random.default_rng(seed).integers(1, 256, size, np.uint8)


def half_zero(values: Bytes) -> Bytes:
    half = len(values) // 2
    return np.concatenate([np.zeros(half, np.uint8), values[half:]])


def new_stream(driver: Driver) -> Stream:
    with driver.use(DEVICE):
        return driver.stream()


def host_array(driver: Driver, size: int, page_locked: bool = True) -> Bytes:
    with driver.use(DEVICE):
        return driver.host_memory(size) if page_locked else np.empty(size, np.uint8)


def fill(driver: Driver, memory: Memory, values: Bytes, stream: Stream) -> None:
    given = host_array(driver, memory.size)
    given[:] = values
    with driver.use(DEVICE):
        driver.copy_in(memory.pointer, given, stream)
    wait_for(driver, stream)


def read(driver: Driver, memory: Memory, stream: Stream) -> Bytes:
    got = host_array(driver, memory.size)
    with driver.use(DEVICE):
        driver.copy_out(got, memory.pointer, stream)
    wait_for(driver, stream)
    return got


def wait_for(driver: Driver, stream: Stream) -> None:
    with driver.use(DEVICE):
        driver.synchronize(driver.record(stream))
