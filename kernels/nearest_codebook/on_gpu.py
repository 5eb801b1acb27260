"""The nearest codeword of each vector on a GPU, for arrays of any library there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from latentloop.kernels.driver.array import DeviceArray
from latentloop.kernels.driver.borrowed import Borrowed, borrow, named_stream
from latentloop.kernels.driver.datatype import FLOAT32, INT64
from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.memory import Memory
from latentloop.kernels.driver.opening import open_driver
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream
from latentloop.kernels.nearest_codebook.codebook import MOST_CODEWORDS, MOST_DIMENSIONS, Layout
from latentloop.kernels.nearest_codebook.launcher import (
    MOST_VECTORS,
    Norms,
    Outputs,
    enqueue_prepare,
    enqueue_search,
)


class GpuCodebook:
    """A codebook [K, D] on a GPU with its norms, computed once: for many searches in one codebook that does not change.

    ``driver`` and ``stream`` are as for ``nearest_on_gpu``; so is what is raised. Searches on other streams wait for
    the norms by themselves.
    """

    def __init__(self, codebook: Any, *, stream: Any = None, driver: Driver | str | None = None) -> None:
        self.driver = _driver(driver)
        self.stream = _stream(stream, codebook)
        self.codebook = borrow(codebook, "codebook", self.driver, self.stream)
        shape = self.codebook.shape
        if len(shape) != 2 or not 1 <= shape[0] <= MOST_CODEWORDS or not 1 <= shape[1] <= MOST_DIMENSIONS:
            raise ValueError(
                f"codebook has shape {list(shape)}, expected [K, D] with K from 1 to {MOST_CODEWORDS} and D from 1 to "
                f"{MOST_DIMENSIONS}"
            )
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
        """The values' type: float32, float16 or bfloat16."""
        return self.codebook.dtype.name

    def await_norms(self, stream: Stream) -> None:
        """Makes that stream's further work wait for the norms. The codebook's device is current."""
        if stream != self.stream:
            self.driver.wait(stream, self._prepared)


@dataclass(frozen=True, eq=False)
class Nearest:
    """What ``nearest_on_gpu`` found, on the GPU; None where it was not asked for.

    It keeps the inputs alive, the arrays alone do not: once another stream has adopted an array, or the work is known
    to be done, it may go.
    """

    index: DeviceArray  # z's shape without D, int64; -1: the vector has no nearest codeword
    distance: DeviceArray | None  # as index, float32: squared Euclidean; NaN where index is -1
    codeword: DeviceArray | None  # as z in shape and type; NaN where index is -1
    _invalid: Memory = field(repr=False)
    _inputs: tuple[Borrowed, GpuCodebook] = field(repr=False)

    @property
    def invalid(self) -> int:
        """How many vectors have no nearest codeword, because of NaN or infinities. Waits for the search."""
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
    """The nearest of codebook [K, D] to each vector of z, squared Euclidean; of equally near ones the lowest index.

    ``z`` is [..., D], or with layout "channels_first" [B, D, ...], as convolutions leave it. ``z`` and ``codebook`` are
    arrays of one GPU that speak DLPack or the CUDA array interface (PyTorch, CuPy, JAX, Numba, pycuda), both float32,
    float16 or bfloat16, row-major; at most 2^31 vectors, D up to 512, K up to 65536. They are read where they lie. The
    codebook may be a ``GpuCodebook``.

    The work is enqueued on ``stream``: a stream of one of these libraries or its handle; None: the stream that z's
    producer names, else the legacy default stream. Nothing waits for it; inputs must stay unchanged until it is done.
    ``distance`` and ``codeword`` ask for these results too. ``driver`` is "cuda-python" or "pycuda"; None: the one that
    works.

    Raises TypeError and ValueError for arrays that do not fit, MissingGpuError where there is no GPU, driver package or
    compiled kernel, and DriverError where CUDA fails.
    """
    if layout not in ("rows", "channels_first"):
        raise ValueError(f"layout is {layout!r}, expected 'rows' or 'channels_first'")
    on = _stream(stream, z)
    if isinstance(codebook, GpuCodebook):
        prepared = codebook
        if driver is not None and _driver(driver) is not prepared.driver:
            raise ValueError(f"driver is {driver!r}, but the codebook was prepared with {prepared.driver.name}")
    else:
        prepared = GpuCodebook(codebook, stream=on, driver=driver)
    used, device = prepared.driver, prepared.codebook.device
    vectors = borrow(z, "z", used, on)
    _check(vectors, prepared, layout)
    channels_first = layout == "channels_first"
    shape = (vectors.shape[0], *vectors.shape[2:]) if channels_first else vectors.shape[:-1]  # index's
    count = math.prod(shape)
    if count > MOST_VECTORS:
        raise ValueError(f"z has {count} vectors, expected at most {MOST_VECTORS}: search in parts")

    def memory(size: int) -> Memory:
        return Memory(used, device, size, on)

    with used.use(device):
        out = Outputs(
            memory(count * INT64.size),
            memory(count * FLOAT32.size) if distance else None,
            memory(math.prod(vectors.shape) * vectors.dtype.size) if codeword else None,
            memory(4 if count else 0),
        )
        if count:
            prepared.await_norms(on)
            positions = math.prod(shape[1:]) if channels_first else 0
            try:
                enqueue_search(used, vectors, positions, prepared.codebook, prepared.norms, out, on)
            finally:
                prepared.norms.memory.used_on(on)
    return Nearest(
        DeviceArray(out.index, shape, INT64),
        DeviceArray(out.distance, shape, FLOAT32) if out.distance else None,
        DeviceArray(out.codeword, vectors.shape, vectors.dtype) if out.codeword else None,
        out.invalid,
        (vectors, prepared),
    )


def _driver(driver: Driver | str | None) -> Driver:
    return open_driver(driver) if driver is None or isinstance(driver, str) else driver


def _stream(stream: Any, array: Any) -> Stream:
    return as_stream(stream) if stream is not None else named_stream(array) or LEGACY


def _check(z: Borrowed, codebook: GpuCodebook, layout: Layout) -> None:
    dimensions = codebook.shape[1]
    axis = 1 if layout == "channels_first" else len(z.shape) - 1
    if not 0 <= axis < len(z.shape) or z.shape[axis] != dimensions:
        expected = f"[B, {dimensions}, ...]" if layout == "channels_first" else f"[..., {dimensions}]"
        raise ValueError(f"z has shape {list(z.shape)}, expected {expected} for a codebook {list(codebook.shape)}")
    if z.dtype is not codebook.codebook.dtype:
        raise TypeError(f"z is {z.dtype.name}, the codebook {codebook.dtype}, expected one type")
    if z.device != codebook.codebook.device and 0 not in z.shape:
        raise ValueError(
            f"z is on cuda:{z.device}, the codebook on cuda:{codebook.codebook.device}, expected one device"
        )
