"""The nearest codeword of each vector on a GPU, for device arrays of any library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from latentloop.kernels.driver.borrowed_array import BorrowedArray, borrow, named_stream
from latentloop.kernels.driver.device_array import DeviceArray
from latentloop.kernels.driver.device_memory import DeviceMemory
from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.opening import open_driver
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream
from latentloop.kernels.element_types import FLOAT32, INT64
from latentloop.kernels.nearest_codebook.launcher import (
    MAX_VECTORS,
    Norms,
    Outputs,
    enqueue_prepare,
    enqueue_search,
)
from latentloop.kernels.nearest_codebook.shapes import Layout, check_codebook, check_layout, check_vectors


class GpuCodebook:
    """A codebook [K, D] on a GPU, prepared once for many searches. Its values must not change.

    ``driver``, ``stream`` and the errors are those of ``nearest_on_gpu``. Searches on other streams wait for the
    preparation.
    """

    def __init__(self, codebook: Any, *, stream: Any = None, driver: Driver | str | None = None) -> None:
        self.driver = _driver(driver)
        self.stream = _stream(stream, codebook)
        self.codebook = borrow(codebook, "codebook", self.driver, self.stream)
        check_codebook(self.codebook.shape)
        with self.driver.use(self.codebook.device):
            self.norms = Norms.empty(self.driver, self.codebook, self.stream)
            enqueue_prepare(self.driver, self.codebook, self.norms, self.stream)
            self._prepared = self.driver.record(self.stream)

    @property
    def shape(self) -> tuple[int, ...]:
        """[K, D]."""
        return self.codebook.shape

    @property
    def dtype(self) -> str:
        """The data type: float32, float16 or bfloat16."""
        return self.codebook.dtype.name

    def await_norms(self, stream: Stream) -> None:
        """Makes later work on the stream wait for the norms. The codebook's device must be current."""
        if stream != self.stream:
            self.driver.wait(stream, self._prepared)

    def enqueue_search(self, vectors: BorrowedArray, positions: int, out: Outputs, stream: Stream) -> None:
        """Enqueues a search as ``launcher.enqueue_search`` does, after the preparation of the norms."""
        self.await_norms(stream)
        try:
            enqueue_search(self.driver, vectors, positions, self.codebook, self.norms, out, stream)
        finally:
            self.norms.memory.record_stream(stream)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The result of ``nearest_on_gpu``, on the GPU. ``distance`` and ``codeword`` are None unless requested.

    Keep this object until the search has completed, or until another stream has imported an array: it keeps the inputs
    alive, its arrays do not.
    """

    index: DeviceArray  # z's shape without D, int64; -1: the vector has no nearest codeword
    distance: DeviceArray | None  # as index, float32: squared Euclidean; NaN where index is -1
    codeword: DeviceArray | None  # z's shape and type; NaN where index is -1
    _invalid: DeviceMemory = field(repr=False)
    _inputs: tuple[BorrowedArray, GpuCodebook] = field(repr=False)

    @property
    def invalid(self) -> int:
        """The number of vectors without a nearest codeword, due to NaN or infinities. Waits for the search."""
        memory = self._invalid
        if not memory.size:
            return 0
        with memory.driver.use(memory.device):
            return int.from_bytes(memory.driver.to_host(memory.pointer, 4, memory.stream), "little")


def nearest_on_gpu(
    z: Any,
    codebook: Any,
    *,
    layout: Layout = "rows",
    distance: bool = False,
    codeword: bool = False,
    stream: Any = None,
    driver: Driver | str | None = None,
) -> Nearest:
    """Enqueues the search for the nearest of codebook [K, D] to each vector of z, by squared Euclidean distance.

    ``z`` is [..., D], or [B, D, ...] with the layout "channels_first", as convolutions output it. Of equally near
    codewords the one with the lowest index is returned. ``z`` and ``codebook`` are row-major arrays on one GPU with
    DLPack or the CUDA array interface (PyTorch, CuPy, JAX, Numba, pycuda), both float32, float16 or bfloat16, with at
    most 2^31 vectors, D up to 512, K up to 65536. They are not copied. ``codebook`` may be a ``GpuCodebook``.

    ``stream`` is a stream of one of these libraries or a handle; None: the stream that z's producer specifies, else the
    legacy default stream. The function does not wait; inputs must not change until the search has completed.
    ``distance`` and ``codeword`` request these outputs. ``driver`` is "cuda-python" or "pycuda"; None: the first that
    works.

    Raises TypeError and ValueError for invalid arrays, MissingGpuError if a GPU, a driver package or the compiled
    kernels are missing, and DriverError if a CUDA call fails.
    """
    check_layout(layout)
    # 1. Prepare the codebook, unless that is done.
    search_stream = _stream(stream, z)
    prepared = _prepare(codebook, search_stream, driver)
    # 2. Import and check the vectors.
    vectors = borrow(z, "z", prepared.driver, search_stream)
    index_shape, positions = _check(vectors, prepared, layout)
    # 3. Allocate the outputs and enqueue the search.
    with prepared.driver.use(prepared.codebook.device):
        count = math.prod(index_shape)
        out = _allocate_outputs(vectors, count, prepared, search_stream, distance=distance, codeword=codeword)
        if count:
            prepared.enqueue_search(vectors, positions, out, search_stream)
    # 4. Return the outputs as arrays.
    return Nearest(
        DeviceArray(out.index, index_shape, INT64),
        DeviceArray(out.distance, index_shape, FLOAT32) if out.distance else None,
        DeviceArray(out.codeword, vectors.shape, vectors.dtype) if out.codeword else None,
        out.invalid,
        (vectors, prepared),
    )


def _prepare(codebook: Any, stream: Stream, driver: Driver | str | None) -> GpuCodebook:
    """Returns the prepared codebook. Raises ValueError if it was prepared with another driver than the requested."""
    if not isinstance(codebook, GpuCodebook):
        return GpuCodebook(codebook, stream=stream, driver=driver)
    if driver is not None and _driver(driver) is not codebook.driver:
        raise ValueError(f"driver is {driver!r}, but the codebook was prepared with {codebook.driver.name}")
    return codebook


def _check(z: BorrowedArray, codebook: GpuCodebook, layout: Layout) -> tuple[tuple[int, ...], int]:
    """Returns the results of ``check_vectors``. Raises ValueError or TypeError if z and the codebook do not match."""
    index_shape, positions = check_vectors(z.shape, codebook.shape, layout)
    if z.dtype is not codebook.codebook.dtype:
        raise TypeError(f"z is {z.dtype.name}, the codebook {codebook.dtype}, expected one type")
    if z.device != codebook.codebook.device and 0 not in z.shape:
        raise ValueError(
            f"z is on cuda:{z.device}, the codebook on cuda:{codebook.codebook.device}, expected one device"
        )
    count = math.prod(index_shape)
    if count > MAX_VECTORS:
        raise ValueError(f"z has {count} vectors, expected at most {MAX_VECTORS}: search in parts")
    return index_shape, positions


def _allocate_outputs(
    vectors: BorrowedArray, count: int, codebook: GpuCodebook, stream: Stream, *, distance: bool, codeword: bool
) -> Outputs:
    def allocate(size: int) -> DeviceMemory:
        return DeviceMemory(codebook.driver, codebook.codebook.device, size, stream)

    return Outputs(
        allocate(count * INT64.size),
        allocate(count * FLOAT32.size) if distance else None,
        allocate(math.prod(vectors.shape) * vectors.dtype.size) if codeword else None,
        allocate(4 if count else 0),
    )


def _driver(driver: Driver | str | None) -> Driver:
    return open_driver(driver) if driver is None or isinstance(driver, str) else driver


def _stream(stream: Any, array: Any) -> Stream:
    return as_stream(stream) if stream is not None else named_stream(array) or LEGACY
