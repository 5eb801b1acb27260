"""The driver over cuda-python where the host plays libcuda.so.1; run by tests/test_cuda_python.py."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from latentloop.bench.gpu.conformance.driver_checks import checks_of
from latentloop.kernels.driver import LEGACY, DriverError, Memory, Stream
from latentloop.kernels.driver.with_cuda_python import CudaPython

SIZE = 4096


@contextmanager
def spoilt(driver: CudaPython, stream: Stream, reason: str) -> Iterator[None]:
    with pytest.raises(DriverError, match=reason), driver.capture(stream):
        yield


def spoilt_captures(driver: CudaPython, stream: Stream, memory: Memory) -> None:
    """An error in a capture ends it, seen or not, and leaves the stream as it was."""
    before = driver.record(stream)
    with spoilt(driver, stream, "cuEventSynchronize: CUDA_ERROR_CAPTURED_EVENT"):
        driver.synchronize(driver.record(stream))
    with spoilt(driver, stream, "cuStreamSynchronize: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        driver.to_host(memory.pointer, SIZE, stream)
    with spoilt(driver, stream, "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"), suppress(DriverError):
        driver.to_host(memory.pointer, SIZE, stream)
    with spoilt(driver, stream, "cuMemHostAlloc: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        driver.host_memory(SIZE)
    with spoilt(driver, stream, "cuStreamWaitEvent: CUDA_ERROR_STREAM_CAPTURE_ISOLATION"):
        driver.wait(stream, before)
    with spoilt(driver, stream, "cuStreamBeginCapture: CUDA_ERROR_INVALID_VALUE"), driver.capture(stream):
        pass
    with spoilt(driver, stream, "allocate before the capture"):
        driver.allocate(SIZE, stream)
    unsupported = "cuStreamBeginCapture: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    with pytest.raises(DriverError, match=unsupported), driver.capture(LEGACY):
        pass
    with driver.capture(stream) as captured:
        driver.zero(memory.pointer, SIZE, stream)
        with pytest.raises(ValueError, match="after its with block"):
            driver.replay(captured, stream)
    driver.replay(captured, stream)
    assert driver.to_host(memory.pointer, SIZE, stream) == bytes(SIZE)


def endings_in_a_capture(driver: CudaPython, stream: Stream, memory: Memory) -> None:
    """What goes while work is captured, as the garbage collector may have it at any time, does not end the capture."""
    going = [Memory(driver, 0, SIZE, stream), driver.host_memory(SIZE), driver.stream(), driver.record(stream)]
    with driver.capture(going[2]) as unused:
        driver.zero(memory.pointer, SIZE, going[2])
    going.append(unused)
    del unused
    with driver.capture(stream) as captured:
        driver.zero(memory.pointer, SIZE, stream)
        going.clear()
        gc.collect()
    driver.replay(captured, stream)
    assert driver.to_host(memory.pointer, SIZE, stream) == bytes(SIZE)


def threads_beside_a_capture(driver: CudaPython, stream: Stream, memory: Memory) -> None:
    """Another thread may do meanwhile what no stream orders, and waits for its own work."""
    done = []

    def other() -> None:
        with driver.use(0):
            own, values = driver.stream(), driver.host_memory(SIZE)
            taken = Memory(driver, 0, SIZE, own)
            driver.zero(taken.pointer, SIZE, own)
            driver.copy_out(values, taken.pointer, own)
            driver.synchronize(driver.record(own))
            done.append(not values.any())

    with driver.capture(stream) as captured:
        driver.zero(memory.pointer, SIZE, stream)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    driver.replay(captured, stream)
    assert done == [True]


def wrong_calls(driver: CudaPython, stream: Stream, memory: Memory) -> None:
    values = np.zeros(SIZE + 1, np.uint8)
    with pytest.raises(DriverError, match="cuMemcpyHtoDAsync: CUDA_ERROR_INVALID_VALUE"):
        driver.copy_in(memory.pointer, values, stream)
    with pytest.raises(DriverError, match="cuMemcpyDtoHAsync: CUDA_ERROR_INVALID_VALUE"):
        driver.copy_out(values, memory.pointer, stream)
    with pytest.raises(DriverError, match="cuMemcpyDtoDAsync: CUDA_ERROR_INVALID_VALUE"):
        driver.copy(memory.pointer, memory.pointer + SIZE, 8, stream)
    with pytest.raises(ValueError, match="expected contiguous"):
        driver.copy_in(memory.pointer, values[::2], stream)
    values.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        driver.copy_out(values[1:], memory.pointer, stream)
    gone = Memory(driver, 0, SIZE, stream)
    with driver.capture(stream) as captured:
        driver.zero(gone.pointer, SIZE, stream)
    del gone
    with pytest.raises(DriverError, match="cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS"):
        driver.replay(captured, stream)


KEPT: list[Any] = []


def left_to_the_end(driver: CudaPython, stream: Stream, memory: Memory) -> None:
    """One of everything, in use when the process ends."""
    values = driver.host_memory(SIZE)
    with driver.capture(stream) as captured:
        driver.copy_out(values, memory.pointer, stream)
    driver.replay(captured, stream)
    KEPT.extend([driver, memory, values, captured, driver.record(stream), KEPT])


def main() -> None:
    driver = CudaPython()
    assert driver.devices() == 1
    for check in checks_of(driver):
        check(driver, SIZE)
    for rule in (spoilt_captures, endings_in_a_capture, threads_beside_a_capture, wrong_calls, left_to_the_end):
        with driver.use(0):
            assert driver.capability() == (8, 6)
            stream = driver.stream()
            rule(driver, stream, Memory(driver, 0, SIZE, stream))
            del stream
        gc.collect()


if __name__ == "__main__":
    main()
