"""Launches of the search's CUDA kernels. Mirrors arguments.h and cuda/plan.h."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from latentloop.kernels.driver.borrowed_array import BorrowedArray
from latentloop.kernels.driver.device_memory import DeviceMemory
from latentloop.kernels.driver.driver import Driver, MissingGpuError
from latentloop.kernels.driver.stream import Stream
from latentloop.kernels.library import load
from latentloop.kernels.nearest_codebook.shapes import MAX_CODEWORDS

FATBIN = Path(__file__).resolve().parent / "nearest_codebook.fatbin"
MAX_VECTORS = 2**31
THREADS = 256  # per block


class Arguments(ctypes.Structure):
    """The argument of every kernel, passed by value (arguments.h)."""

    _fields_ = (
        ("z", ctypes.c_void_p),
        ("codebook", ctypes.c_void_p),
        ("half_norms", ctypes.c_void_p),
        ("largest", ctypes.c_void_p),
        ("partials", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("distance", ctypes.c_void_p),
        ("codeword", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("vectors", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("dimensions", ctypes.c_int32),
        ("codewords", ctypes.c_int32),
        ("splits", ctypes.c_int32),
        ("split_codewords", ctypes.c_int32),
    )


class Plan(ctypes.Structure):
    """The launch plan of a search (plan.h)."""

    _fields_ = (
        ("search_blocks", ctypes.c_int64),
        ("resolve_blocks", ctypes.c_int64),
        ("prepare_blocks", ctypes.c_int64),
        ("partials_bytes", ctypes.c_int64),
        ("splits", ctypes.c_int32),
        ("split_codewords", ctypes.c_int32),
    )


def plan(vectors: int, codewords: int, multiprocessors: int) -> Plan:
    """Returns the launch plan for N vectors and K codewords.

    Raises MissingGpuError if the operator library is missing, and ValueError for sizes out of range.
    """
    library = load()
    if library is None:
        raise MissingGpuError(
            "the operator library was not built or cannot be loaded: install a C++ compiler, then reinstall LatentLoop"
        )
    result = Plan()
    function = library.latentloop_nearest_plan
    function.argtypes = (ctypes.c_int64, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(Plan))
    if function(vectors, codewords, multiprocessors, ctypes.byref(result)):
        raise ValueError(
            f"{vectors} vectors and {codewords} codewords on {multiprocessors} multiprocessors, expected at most "
            f"{MAX_VECTORS} and {MAX_CODEWORDS}"
        )
    return result


@dataclass(frozen=True)
class Outputs:
    """The outputs of a search; None: not requested."""

    index: DeviceMemory
    distance: DeviceMemory | None
    codeword: DeviceMemory | None
    invalid: DeviceMemory


@dataclass(frozen=True)
class Norms:
    """The prepared codebook, float32: h_k of every codeword, followed by the largest |e_k|."""

    memory: DeviceMemory

    @staticmethod
    def empty(driver: Driver, codebook: BorrowedArray, stream: Stream) -> Norms:
        """Allocates the norms of codebook [K, D], without filling them."""
        return Norms(DeviceMemory(driver, codebook.device, (codebook.shape[0] + 1) * 4, stream))

    @property
    def largest(self) -> int:
        """The address of the largest |e_k|."""
        return self.memory.pointer + self.memory.size - 4


def enqueue_prepare(driver: Driver, codebook: BorrowedArray, norms: Norms, stream: Stream) -> None:
    """Enqueues the computation of ``norms``. The codebook's device must be current."""
    codewords, dimensions = codebook.shape
    driver.zero(norms.largest, 4, stream)
    _launch(
        driver,
        f"nearest_prepare_{codebook.dtype.short.lower()}",
        (plan(0, codewords, driver.multiprocessors()).prepare_blocks, 1),
        Arguments(
            codebook=codebook.pointer,
            half_norms=norms.memory.pointer,
            largest=norms.largest,
            dimensions=dimensions,
            codewords=codewords,
        ),
        stream,
    )


def enqueue_search(
    driver: Driver,
    z: BorrowedArray,
    positions: int,
    codebook: BorrowedArray,
    norms: Norms,
    out: Outputs,
    stream: Stream,
) -> None:
    """Enqueues a search for N = out.index.size / 8 > 0 vectors. The arrays' device must be current.

    ``positions`` is the number of positions per image; 0: z is [N, D].
    """
    codewords, dimensions = codebook.shape
    vectors = out.index.size // 8
    launch_plan = plan(vectors, codewords, driver.multiprocessors())
    partials = DeviceMemory(driver, z.device, launch_plan.partials_bytes, stream)  # freed on return, in stream order
    arguments = Arguments(
        z=z.pointer,
        codebook=codebook.pointer,
        half_norms=norms.memory.pointer,
        largest=norms.largest,
        partials=partials.pointer,
        index=out.index.pointer,
        distance=out.distance.pointer if out.distance else None,
        codeword=out.codeword.pointer if out.codeword else None,
        invalid=out.invalid.pointer,
        vectors=vectors,
        positions=positions,
        dimensions=dimensions,
        codewords=codewords,
        splits=launch_plan.splits,
        split_codewords=launch_plan.split_codewords,
    )
    suffix = z.dtype.short.lower()
    search = "nearest_search" if suffix == "f32" else "nearest_search_tensor"
    driver.zero(out.invalid.pointer, 4, stream)
    _launch(driver, f"{search}_{suffix}", (launch_plan.search_blocks, launch_plan.splits), arguments, stream)
    _launch(driver, f"nearest_resolve_{suffix}", (launch_plan.resolve_blocks, 1), arguments, stream)


def _launch(driver: Driver, name: str, grid: tuple[int, int], arguments: Arguments, stream: Stream) -> None:
    driver.launch(driver.function(FATBIN, name), grid, THREADS, bytes(arguments), stream)
