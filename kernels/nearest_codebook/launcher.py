"""Launching the search's kernels on a GPU: what arguments.h and plan.h are to Python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from latentloop.kernels.driver.borrowed import Borrowed
from latentloop.kernels.driver.driver import Driver, MissingGpuError
from latentloop.kernels.driver.memory import Memory
from latentloop.kernels.driver.stream import Stream
from latentloop.kernels.library import load
from latentloop.kernels.nearest_codebook.codebook import MOST_CODEWORDS

IMAGE = Path(__file__).resolve().parent / "nearest_codebook.fatbin"
MOST_VECTORS = 2**31
THREADS = 256  # of a block
_SUFFIXES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


class Arguments(ctypes.Structure):
    """What every kernel takes, by value."""

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
    """How a search is laid out."""

    _fields_ = (
        ("search_blocks", ctypes.c_int64),
        ("resolve_blocks", ctypes.c_int64),
        ("prepare_blocks", ctypes.c_int64),
        ("partials_bytes", ctypes.c_int64),
        ("splits", ctypes.c_int32),
        ("split_codewords", ctypes.c_int32),
    )


def plan(vectors: int, codewords: int, multiprocessors: int) -> Plan:
    """The layout for N vectors and K codewords.

    Raises MissingGpuError without the operator library, and ValueError for sizes out of range.
    """
    library = load()
    if library is None:
        raise MissingGpuError(
            "the operator library was not built, or cannot be loaded: install LatentLoop where there is a C++ compiler"
        )
    found = Plan()
    function = library.latentloop_nearest_plan
    function.argtypes = (ctypes.c_int64, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(Plan))
    if function(vectors, codewords, multiprocessors, ctypes.byref(found)):
        raise ValueError(
            f"{vectors} vectors and {codewords} codewords on {multiprocessors} multiprocessors, expected at most "
            f"{MOST_VECTORS} and {MOST_CODEWORDS}"
        )
    return found


@dataclass(frozen=True)
class Outputs:
    """Where a search writes; None: not wanted."""

    index: Memory
    distance: Memory | None
    codeword: Memory | None
    invalid: Memory


@dataclass(frozen=True)
class Norms:
    """What a codebook needs once: h_k of every codeword, and then the largest |e_k|, float32."""

    memory: Memory

    @staticmethod
    def empty(driver: Driver, codebook: Borrowed, stream: Stream) -> Norms:
        """Memory for the norms of codebook [K, D]."""
        return Norms(Memory(driver, codebook.device, (codebook.shape[0] + 1) * 4, stream))

    @property
    def largest(self) -> int:
        """Where that is."""
        return self.memory.pointer + self.memory.size - 4


def enqueue_prepare(driver: Driver, codebook: Borrowed, norms: Norms, stream: Stream) -> None:
    """Fills ``norms``. The codebook's device is current."""
    codewords, dimensions = codebook.shape
    driver.zero(norms.largest, 4, stream)
    _launch(
        driver,
        f"nearest_prepare_{_SUFFIXES[codebook.dtype.name]}",
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
    driver: Driver, z: Borrowed, positions: int, codebook: Borrowed, norms: Norms, out: Outputs, stream: Stream
) -> None:
    """Searches for N = out.index.size / 8 > 0 vectors; ``positions`` of an image, 0: rows. Their device is current."""
    codewords, dimensions = codebook.shape
    vectors = out.index.size // 8
    layout = plan(vectors, codewords, driver.multiprocessors())
    partials = Memory(driver, z.device, layout.partials_bytes, stream)  # freed on return, in the stream's order
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
        splits=layout.splits,
        split_codewords=layout.split_codewords,
    )
    suffix = _SUFFIXES[z.dtype.name]
    search = "nearest_search" if suffix == "f32" else "nearest_search_tensor"
    driver.zero(out.invalid.pointer, 4, stream)
    _launch(driver, f"{search}_{suffix}", (layout.search_blocks, layout.splits), arguments, stream)
    _launch(driver, f"nearest_resolve_{suffix}", (layout.resolve_blocks, 1), arguments, stream)


def _launch(driver: Driver, name: str, grid: tuple[int, int], arguments: Arguments, stream: Stream) -> None:
    driver.launch(driver.function(IMAGE, name), grid, THREADS, bytes(arguments), stream)
