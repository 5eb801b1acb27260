"""The simulated GPU of this process, from Python: its libcuda.so.1 with ``native/fake_libcuda/fake_cuda.h``, and its
TensorRT, for programs that use liblatentloop.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np
from embedded import EmbeddedSampler
from numpy.typing import NDArray

KINDS = ("streams", "events", "graphs", "executables", "device", "host", "internal", "contexts", "primary", "abandoned")
IN_TENSORRT = ("runtimes", "engines", "contexts", "configs")
NON_BLOCKING = 1
GLOBAL = 0  # a mode of captures


class FakeGpu:
    """Forgets earlier counts and violations."""

    def __init__(self, tensorrt: str) -> None:
        """``tensorrt`` is the file of the fake TensorRT."""
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.tensorrt = ctypes.CDLL(tensorrt)
        self.cuda.fake_cuda_violation.restype = c_char_p
        self.cuda.fake_cuda_calls.restype = c_int64
        self.cuda.fake_cuda_reset()
        self.allocated: list[int] = []
        self.call("cuInit", 0)
        self.before = self.live()

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function of the driver, which must succeed."""
        assert getattr(self.cuda, function)(*arguments) == 0, f"{function}: {self.violation()}"

    def live(self) -> dict[str, int]:
        """Returns the numbers of objects and allocations that exist."""
        of_driver = {kind: self.cuda.fake_cuda_live(kind.encode()) for kind in KINDS}
        return of_driver | {
            f"TensorRT's {kind}": self.tensorrt.fake_tensorrt_live(kind.encode()) for kind in IN_TENSORRT
        }

    def calls(self, function: str) -> int:
        return int(self.cuda.fake_cuda_calls(function.encode()))

    def fail(self, function: str, call: int, status: int) -> None:
        """Makes a call of the function fail: 1 for the next one."""
        self.cuda.fake_cuda_fail(function.encode(), c_int64(call), status)

    def violation(self) -> str:
        return str(self.cuda.fake_cuda_violation().decode())

    def finish(self) -> None:
        """Checks that no rule was violated, and that everything made since is freed."""
        assert self.violation() == "", self.violation()
        assert self.cuda.fake_cuda_finish() == 0, self.violation()
        assert self.violation() == "", self.violation()
        assert self.live() == self.before, f"not everything is freed: {self.live()}, expected {self.before}"

    # ---- What a program does with CUDA.

    @contextmanager
    def context(self, current: bool = True) -> Iterator[c_void_p]:
        """Yields a new context, which is current in the block or not."""
        context = c_void_p()
        self.call("cuCtxCreate_v2", byref(context), 0, 0)
        if not current:
            self.call("cuCtxPopCurrent_v2", byref(c_void_p()))
        try:
            yield context
        finally:
            if current:
                assert self.current() == context.value
                self.call("cuCtxPopCurrent_v2", byref(c_void_p()))
            self.call("cuCtxDestroy_v2", context)

    @contextmanager
    def primary(self) -> Iterator[None]:
        """Makes the primary context current, as CUDA's runtime does."""
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), 0)
        self.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            assert self.current() == context.value
            self.call("cuCtxPopCurrent_v2", byref(c_void_p()))
            self.call("cuDevicePrimaryCtxRelease_v2", 0)

    def current(self) -> int | None:
        """Returns the current context's handle."""
        context = c_void_p()
        self.call("cuCtxGetCurrent", byref(context))
        return context.value

    def exchange_capture_mode(self, mode: int) -> int:
        """Sets the thread's mode, and returns the one before."""
        exchanged = c_int(mode)
        self.call("cuThreadExchangeStreamCaptureMode", byref(exchanged))
        return exchanged.value

    @contextmanager
    def stream(self) -> Iterator[c_void_p]:
        stream = c_void_p()
        self.call("cuStreamCreate", byref(stream), NON_BLOCKING)
        try:
            yield stream
        finally:
            self.call("cuStreamDestroy_v2", stream)

    def allocate(self, size: int) -> int:
        pointer = c_uint64()
        self.call("cuMemAlloc_v2", byref(pointer), c_size_t(size))
        self.allocated.append(pointer.value)
        return pointer.value

    def free(self) -> None:
        """Frees the allocations."""
        while self.allocated:
            self.call("cuMemFree_v2", c_uint64(self.allocated.pop()))

    def put(self, values: NDArray[Any], stream: c_void_p, offset: int = 0) -> int:
        """Returns the address to which the stream will write the values, ``offset`` bytes into a new allocation."""
        pointer = self.allocate(values.nbytes + offset) + offset
        source = np.ascontiguousarray(values)
        self.call(
            *("cuMemcpyHtoDAsync_v2", c_uint64(pointer), c_void_p(source.ctypes.data)),
            *(c_size_t(source.nbytes), stream),
        )
        return pointer

    def get(self, pointer: int, like: NDArray[Any], stream: c_void_p) -> NDArray[Any]:
        """Returns the values at an address, after the work of the stream."""
        values = np.empty_like(like)
        self.call(
            *("cuMemcpyDtoHAsync_v2", c_void_p(values.ctypes.data), c_uint64(pointer)),
            *(c_size_t(values.nbytes), stream),
        )
        self.call("cuStreamSynchronize", stream)
        return values


def on_gpu(sampler: EmbeddedSampler, codes: Mapping[str, int]) -> Any:
    """Returns an array of addresses by level; null for levels that are missing."""
    return (c_void_p * len(sampler.bundle.levels))(*(codes.get(name) for name in sampler.bundle.names()))


def set_stream(sampler: EmbeddedSampler, stream: c_void_p) -> None:
    sampler.library.call("ll_sampler_set_stream", sampler.handle, stream)


def encode(sampler: EmbeddedSampler, images: int, size: int, n: int, codes: Mapping[str, int]) -> None:
    """Calls ll_encode with addresses in GPU memory; ``size`` is that of the images in bytes."""
    sampler.library.call(
        *("ll_encode", sampler.handle, c_void_p(images), c_size_t(size), c_int64(n), on_gpu(sampler, codes))
    )


def decode(sampler: EmbeddedSampler, codes: Mapping[str, int], n: int, images: int, size: int) -> None:
    """Calls ll_decode with addresses in GPU memory; ``size`` is that of the images in bytes."""
    sampler.library.call(
        *("ll_decode", sampler.handle, on_gpu(sampler, codes), c_int64(n), c_void_p(images), c_size_t(size))
    )


def sample(sampler: EmbeddedSampler, n: int, images: int, size: int, codes: Mapping[str, int], **arguments: Any) -> int:
    """Calls ll_sample with addresses in GPU memory. Returns the number of finished samples."""
    params, kept = sampler.sample_params(n, **arguments)
    finished = c_int64(-1)
    sampler.library.call(
        *("ll_sample", sampler.handle, byref(params), c_void_p(images), c_size_t(size)),
        *(on_gpu(sampler, codes), byref(finished)),
    )
    del kept
    return finished.value


def sample_best(
    sampler: EmbeddedSampler,
    n: int,
    candidates: int,
    images: int,
    size: int,
    codes: Mapping[str, int],
    **arguments: Any,
) -> int:
    """Calls ll_sample_best like ``sample``."""
    params, kept = sampler.sample_params(n, **arguments)
    finished = c_int64(-1)
    sampler.library.call(
        *("ll_sample_best", sampler.handle, byref(params), c_int64(candidates), c_void_p(images), c_size_t(size)),
        *(on_gpu(sampler, codes), None, None, None, byref(finished)),
    )
    del kept
    return finished.value


def log_likelihood(
    sampler: EmbeddedSampler, codes: Mapping[str, int], labels: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Calls ll_log_likelihood with codes in GPU memory."""
    nats = sampler.bundle.empty_codes(len(labels), np.float64)
    sampler.library.call(
        *("ll_log_likelihood", sampler.handle, on_gpu(sampler, codes), c_void_p(labels.ctypes.data)),
        *(c_int64(len(labels)), sampler.bundle.pointers(nats)),
    )
    return nats


def classify(sampler: EmbeddedSampler, images: int, size: int, n: int) -> NDArray[np.float32]:
    """Calls ll_classify with images in GPU memory, of ``size`` bytes."""
    probabilities = np.full((n, len(sampler.bundle.classes)), -7, np.float32)
    sampler.library.call(
        *("ll_classify", sampler.handle, c_void_p(images), c_size_t(size), c_int64(n)),
        c_void_p(probabilities.ctypes.data),
    )
    return probabilities
