"""The CPU simulation of CUDA kernels: its results, and its detection of behaviour that is undefined in CUDA."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable

import numpy as np
import pytest
from nearest_grid import NATIVE, compile_native, compiler, narrow, widen
from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

Launch = Callable[..., str]
SEEDS = range(5)


class Arguments(ctypes.Structure):
    """Arguments of kernels/nearest_codebook/arguments.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("z", "codebook", "half_norms", "largest", "partials", "index")),
        *((name, ctypes.c_void_p) for name in ("distance", "codeword", "invalid")),
        *((name, ctypes.c_int64) for name in ("vectors", "positions")),
        *((name, ctypes.c_int32) for name in ("dimensions", "codewords", "splits", "split_codewords")),
    )


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Runs a kernel of samples.cpp with arrays as arguments. Returns the error text, or ""."""
    out = tmp_path_factory.mktemp("grid") / "samples.so"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    library = ctypes.CDLL(str(compile_native([NATIVE / "grid" / "samples.cpp"], out, flags)))

    def run(kernel: str, seed: int = 0, blocks: int = 1, threads: int = 64, **arrays: NDArray[np.generic]) -> str:
        error = ctypes.create_string_buffer(512)
        arguments = Arguments(**{name: array.ctypes.data for name, array in arrays.items()})
        status = library.latentloop_grid_launch(
            kernel.encode(),
            ctypes.c_int64(blocks),
            1,
            threads,
            ctypes.byref(arguments),
            ctypes.c_uint64(seed),
            error,
            ctypes.c_size_t(len(error)),
        )
        assert status == bool(error.value)
        return error.value.decode()

    return run


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernel", ["sum_by_barriers", "sum_by_shuffles"])
def test_threads_of_a_block_share_memory(kernel: str, seed: int, launch: Launch) -> None:
    z = np.arange(3 * 64, dtype=np.float32)
    sums = np.full(3, np.nan, np.float32)
    assert launch(kernel, seed, 3, z=z, distance=sums) == ""
    assert sums.tolist() == z.reshape(3, 64).sum(1).tolist()


def test_the_seed_determines_the_order_of_threads(launch: Launch) -> None:
    def order(seed: int) -> list[float]:
        out, count = np.full(192, -1, np.float32), np.zeros(1, np.int32)
        assert launch("order_of_threads", seed, 3, distance=out, invalid=count) == ""
        assert count.item() == 192
        return [float(at) for at in out]

    first, second = order(1), order(2)
    assert sorted(first) == sorted(second) == list(range(192))
    assert first == order(1)
    assert first != second
    assert sorted(first[:64]) != first[:64]


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_matrix_product_error_is_within_its_bound(kind: str, launch: Launch) -> None:
    random = np.random.default_rng(0)
    used = 0.0
    for seed in range(50):
        a = narrow(random.standard_normal((16, 16)) * np.exp2(random.integers(-6, 6, (16, 16))), kind)
        b = narrow(random.standard_normal((16, 8)), kind)
        c = random.standard_normal((16, 8)).astype(np.float32)
        result = c.copy()
        both = np.concatenate([a.ravel(), b.ravel()])
        assert launch(f"product_of_{kind}", seed, threads=32, codebook=both, distance=result) == ""
        wide_a, wide_b = widen(a).astype(np.float64), widen(b).astype(np.float64)
        size = np.abs(wide_a) @ np.abs(wide_b) + np.abs(c)
        error = np.abs(result - (wide_a @ wide_b + c))
        used = max(used, float((error / (18 * np.finfo(np.float32).eps * size)).max()))
    print(f"matrix product of {kind}: {used:.0%} of the bound")
    assert 0.02 < used <= 1  # the error is large, but within the bound of hardware


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"), [(np.inf, 1, 0, np.inf), (np.inf, 0, 0, np.nan), (1, 1, -np.inf, -np.inf)]
)
def test_matrix_product_of_special_values(a: float, b: float, c: float, expected: float, launch: Launch) -> None:
    both = narrow(np.concatenate([np.full(16 * 16, a), np.full(16 * 8, b)]), "f16")
    result = np.full((16, 8), c, np.float32)
    assert launch("product_of_f16", threads=32, codebook=both, distance=result) == ""
    np.testing.assert_array_equal(result, np.full((16, 8), expected))


def test_float16_conversion_equals_numpy(launch: Launch) -> None:
    for bits in np.arange(2**16, dtype=np.uint16).reshape(64, 1024):
        result = np.empty(1024, np.float32)
        assert launch("widen_f16", threads=1024, codebook=bits, distance=result) == ""
        np.testing.assert_array_equal(result, bits.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kernel", "error"),
    [
        ("two_writers", r"thread \d+ writes sums\[\d+\], which thread \d+ wrote with no barrier between"),
        ("reader_and_writer", r"sums\[\d+\], which thread \d+ (wrote|read) with no barrier between"),
        ("read_unwritten", r"thread \d+ reads sums\[7\], which no thread of this block wrote"),
        ("read_of_another_block", r"block \(1, 0\): thread \d+ reads sums\[\d+\], which no thread of this block wrote"),
        ("beyond_the_end", r"thread 63 writes sums\[64\] of 64 elements"),
        ("unaligned_shared", r"thread 5 writes 16 bytes from sums\[2\], which is not aligned to 16 bytes"),
        ("unaligned_global", r"loads 16 bytes from an address not aligned to 16"),
        ("too_much_shared", r"more brings the shared memory to 49156 bytes, at most 49152"),
        ("barrier_not_for_all", r"thread 0 waits at the barrier of samples.cpp:\d+ for thread 40, which ended"),
        ("two_barriers", r"thread \d+ waits at the barrier of samples.cpp:\d+, others at that of samples.cpp:\d+"),
        ("shuffle_not_for_all", r"thread 0 waits at the shuffle of samples.cpp:\d+ for thread 3, which ended"),
        ("shuffle_and_barrier", r"shuffle of samples.cpp:\d+ for thread 3, which waits at the barrier of samples.cpp"),
        ("two_shuffles", r"waits at the shuffle of samples.cpp:\d+, another lane of its warp at the shuffle of"),
        ("shuffle_beyond_the_warp", r"shuffles with the lane mask 32, expected one of 0 to 31"),
        ("product_not_for_all", r"thread 32 waits at the matrix product of samples.cpp:\d+ for thread 63, which ended"),
        ("largest_of_negative", r"atomic_largest of a negative value"),
    ],
)  # fmt: skip
def test_faults_are_detected_and_named(kernel: str, error: str, seed: int, launch: Launch) -> None:
    values = np.zeros(64 + 4, np.float32)
    aligned = values[(-values.ctypes.data % 16) // 4 :]
    message = launch(kernel, seed, 2, z=aligned, distance=np.empty(64, np.float32), invalid=np.zeros(1, np.int32))
    assert message.startswith(f"{kernel}, block (")
    assert re.search(error, message), message


def test_a_launch_after_a_fault_is_correct(launch: Launch) -> None:
    assert launch("two_writers") != ""
    z, sums = np.ones(64, np.float32), np.empty(1, np.float32)
    assert launch("sum_by_barriers", z=z, distance=sums) == ""
    assert sums.item() == 64


@pytest.mark.parametrize(
    ("blocks", "threads", "error"),
    [(0, 64, "a grid of 0 x 1"), (1, 63, "63 threads"), (1, 0, "0 threads"), (1, 1056, "1056 threads")],
)
def test_invalid_grids(blocks: int, threads: int, error: str, launch: Launch) -> None:
    assert error in launch("sum_by_barriers", blocks=blocks, threads=threads)


def test_unknown_kernel(launch: Launch) -> None:
    assert launch("nothing") == "no kernel nothing"
