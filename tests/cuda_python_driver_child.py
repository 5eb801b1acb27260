"""The driver through cuda-python with the fake libcuda.so.1; run by tests/test_cuda_python.py."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from latentloop.bench.gpu.conformance.driver_checks import checks_of
from latentloop.kernels.driver import LEGACY, DeviceMemory, DriverError, Stream
from latentloop.kernels.driver.with_cuda_python import CudaPython

SIZE = 4096


@contextmanager
def fails(driver: CudaPython, stream: Stream, reason: str) -> Iterator[None]:
    with pytest.raises(DriverError, match=reason), driver.capture(stream):
        yield


def failing_captures(driver: CudaPython, stream: Stream, memory: DeviceMemory) -> None:
    """An error in a capture ends it, even if the error is suppressed, and leaves the stream usable."""
    before = driver.record(stream)
    with fails(driver, stream, "cuEventSynchronize: CUDA_ERROR_CAPTURED_EVENT"):
        driver.synchronize(driver.record(stream))
    with fails(driver, stream, "cuStreamSynchronize: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        driver.to_host(memory.pointer, SIZE, stream)
    with (
        fails(driver, stream, "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"),
        suppress(DriverError),
    ):
        driver.to_host(memory.pointer, SIZE, stream)
    with fails(driver, stream, "cuMemHostAlloc: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
        driver.host_memory(SIZE)
    with fails(driver, stream, "cuStreamWaitEvent: CUDA_ERROR_STREAM_CAPTURE_ISOLATION"):
        driver.wait(stream, before)
    with fails(driver, stream, "cuStreamBeginCapture: CUDA_ERROR_INVALID_VALUE"), driver.capture(stream):
        pass
    with fails(driver, stream, "allocate before the capture"):
        driver.allocate(SIZE, stream)
    unsupported = "cuStreamBeginCapture: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    with pytest.raises(DriverError, match=unsupported), driver.capture(LEGACY):
        pass
    with driver.capture(stream) as graph:
        driver.zero(memory.pointer, SIZE, stream)
        with pytest.raises(ValueError, match="after its with block"):
            driver.replay(graph, stream)
    driver.replay(graph, stream)
    assert driver.to_host(memory.pointer, SIZE, stream) == bytes(SIZE)


def destruction_during_a_capture(driver: CudaPython, stream: Stream, memory: DeviceMemory) -> None:
    """Objects that the garbage collector destroys during a capture do not invalidate it."""
    objects = [DeviceMemory(driver, 0, SIZE, stream), driver.host_memory(SIZE), driver.stream(), driver.record(stream)]
    with driver.capture(objects[2]) as unused:
        driver.zero(memory.pointer, SIZE, objects[2])
    objects.append(unused)
    del unused
    with driver.capture(stream) as graph:
        driver.zero(memory.pointer, SIZE, stream)
        objects.clear()
        gc.collect()
    driver.replay(graph, stream)
    assert driver.to_host(memory.pointer, SIZE, stream) == bytes(SIZE)


def threads_during_a_capture(driver: CudaPython, stream: Stream, memory: DeviceMemory) -> None:
    """Another thread may make calls without a stream, and wait for its own work."""
    done = []

    def other() -> None:
        with driver.use(0):
            other_stream, values = driver.stream(), driver.host_memory(SIZE)
            other_memory = DeviceMemory(driver, 0, SIZE, other_stream)
            driver.zero(other_memory.pointer, SIZE, other_stream)
            driver.copy_out(values, other_memory.pointer, other_stream)
            driver.synchronize(driver.record(other_stream))
            done.append(not values.any())

    with driver.capture(stream) as graph:
        driver.zero(memory.pointer, SIZE, stream)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    driver.replay(graph, stream)
    assert done == [True]


def invalid_calls(driver: CudaPython, stream: Stream, memory: DeviceMemory) -> None:
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
    freed = DeviceMemory(driver, 0, SIZE, stream)
    with driver.capture(stream) as graph:
        driver.zero(freed.pointer, SIZE, stream)
    del freed
    with pytest.raises(DriverError, match="cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS"):
        driver.replay(graph, stream)


ALIVE_AT_EXIT: list[Any] = []


def alive_at_exit(driver: CudaPython, stream: Stream, memory: DeviceMemory) -> None:
    """Keeps one object of each kind alive until the process ends."""
    values = driver.host_memory(SIZE)
    with driver.capture(stream) as graph:
        driver.copy_out(values, memory.pointer, stream)
    driver.replay(graph, stream)
    ALIVE_AT_EXIT.extend([driver, memory, values, graph, driver.record(stream), ALIVE_AT_EXIT])


def main() -> None:
    driver = CudaPython()
    assert driver.devices() == 1
    for check in checks_of(driver):
        check(driver, SIZE)
    for run in (failing_captures, destruction_during_a_capture, threads_during_a_capture, invalid_calls, alive_at_exit):
        with driver.use(0):
            assert (driver.capability(), driver.model()) == ((8, 6), "Simulated GPU")
            stream = driver.stream()
            run(driver, stream, DeviceMemory(driver, 0, SIZE, stream))
            del stream
        gc.collect()


if __name__ == "__main__":
    main()
