"""The kernels of nearest_codebook on the host: what each touches, and the real ones compiled for the host."""

from __future__ import annotations

import ctypes

from fake_gpu.memory import Range
from fake_gpu.order import FakeGpuError, Run
from latentloop.kernels.nearest_codebook.launcher import Arguments

PARTIAL = 16  # bytes
SIZES = {"f32": 4, "f16": 2, "bf16": 2}


def runner(
    kernels: ctypes.CDLL | None, function: str, grid: tuple[int, int], threads: int, argument: bytes, seed: int
) -> Run:
    """``kernels`` is the library of tests/native/grid/nearest.cpp; None: nothing is run."""

    def run() -> None:
        if kernels is None:
            return
        error = ctypes.create_string_buffer(1024)
        sizes = ctypes.c_int64(grid[0]), ctypes.c_int(grid[1]), ctypes.c_int(threads)
        status = kernels.latentloop_grid_launch(
            function.encode(), *sizes, argument, ctypes.c_uint64(seed), error, ctypes.c_size_t(len(error))
        )
        if status:
            raise FakeGpuError(f"{function}: {error.value.decode()}")

    return run


def check(function: str, grid: tuple[int, int], argument: bytes) -> None:
    """Raises FakeGpuError for what no kernel can be launched with."""
    if len(argument) != ctypes.sizeof(Arguments):
        raise FakeGpuError(f"{function}: {len(argument)} bytes of arguments, expected {ctypes.sizeof(Arguments)}")
    if not (0 < grid[0] < 2**31 and 0 < grid[1] < 2**16):
        raise FakeGpuError(f"{function}: a grid of {grid}")


def touched(function: str, argument: bytes) -> list[Range]:
    """What a kernel touches, by arguments.h."""
    a = Arguments.from_buffer_copy(argument)
    size = SIZES[function.rsplit("_", 1)[1]]
    z = Range("z", a.z, a.vectors * a.dimensions * size)
    codebook = Range("codebook", a.codebook, a.codewords * a.dimensions * size)
    norms = 4 * a.codewords
    partials = PARTIAL * a.splits * a.vectors
    if function.startswith("nearest_prepare"):
        return [codebook, Range("half_norms", a.half_norms, norms, True), Range("largest", a.largest, 4, True)]
    inputs = [z, codebook, Range("half_norms", a.half_norms, norms)]
    if function.startswith("nearest_search"):
        return [*inputs, Range("partials", a.partials, partials, True)]
    outputs = [
        Range("index", a.index, 8 * a.vectors, True),
        Range("distance", a.distance, 4 * a.vectors, True),
        Range("codeword", a.codeword, z.size, True),
        Range("invalid", a.invalid, 4, True),
    ]
    given = [out for out in outputs if out.pointer is not None or out.name == "index"]
    return [*inputs, Range("largest", a.largest, 4), Range("partials", a.partials, partials), *given]
