"""The CUDA kernels of nearest_codebook: their accesses to memory, and their execution on the CPU."""

from __future__ import annotations

import ctypes

from fake_gpu.accesses import Access
from fake_gpu.scheduler import FakeGpuError, Run
from latentloop.kernels.nearest_codebook.launcher import Arguments

PARTIAL = 16  # bytes
SIZES = {"f32": 4, "f16": 2, "bf16": 2}


def kernel_run(
    kernels: ctypes.CDLL | None, function: str, grid: tuple[int, int], threads: int, argument: bytes, seed: int
) -> Run:
    """Returns a function that runs a kernel. ``kernels`` is the library of tests/native/grid/nearest.cpp, the kernels
    compiled for the CPU; with None the function does nothing.
    """

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


def check_launch(function: str, grid: tuple[int, int], argument: bytes) -> None:
    """Raises FakeGpuError for a grid or an argument with which no kernel can be launched."""
    if len(argument) != ctypes.sizeof(Arguments):
        raise FakeGpuError(f"{function}: {len(argument)} bytes of arguments, expected {ctypes.sizeof(Arguments)}")
    if not (0 < grid[0] < 2**31 and 0 < grid[1] < 2**16):
        raise FakeGpuError(f"{function}: a grid of {grid}")


def accesses_of(function: str, argument: bytes) -> list[Access]:
    """Returns a kernel's accesses, as arguments.h documents them."""
    a = Arguments.from_buffer_copy(argument)
    size = SIZES[function.rsplit("_", 1)[1]]
    z = Access("z", a.z, a.vectors * a.dimensions * size)
    codebook = Access("codebook", a.codebook, a.codewords * a.dimensions * size)
    norms = 4 * a.codewords
    partials = PARTIAL * a.splits * a.vectors
    if function.startswith("nearest_prepare"):
        return [codebook, Access("half_norms", a.half_norms, norms, True), Access("largest", a.largest, 4, True)]
    inputs = [z, codebook, Access("half_norms", a.half_norms, norms)]
    if function.startswith("nearest_search"):
        return [*inputs, Access("partials", a.partials, partials, True)]
    outputs = [
        Access("index", a.index, 8 * a.vectors, True),
        Access("distance", a.distance, 4 * a.vectors, True),
        Access("codeword", a.codeword, z.size, True),
        Access("invalid", a.invalid, 4, True),
    ]
    present = [output for output in outputs if output.pointer is not None or output.name == "index"]
    return [*inputs, Access("largest", a.largest, 4), Access("partials", a.partials, partials), *present]
