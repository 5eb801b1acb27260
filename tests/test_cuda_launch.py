"""The C interface of the CUDA launcher, compiled for the CPU: its results, and the errors for invalid arguments."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cuda_host import TYPES, Launcher, Memory, Problem, compile_host
from made_once import made_once
from mutants import Mutant
from nearest_checks import truncated_products
from nearest_grid import KERNELS, NATIVE, Values, compile_native, compiler, narrow, widen
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.reference import nearest_reference

TILE_VECTORS, PARTIAL_BYTES = 128, 16  # plan.h, arguments.h

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ["-shared", "-fPIC", "-fvisibility=hidden"]
    return made_once(tmp_path_factory, "liblaunch.so", lambda path: compile_host([], path, flags))


@pytest.fixture(scope="module")
def launcher(library: Path) -> Launcher:
    return Launcher(library)


def problem(**changed: int) -> Problem:
    fields = {"vectors": 6, "dimensions": 5, "codewords": 3, "multiprocessors": 4}
    return Problem(**{**fields, **changed})


@dataclass(frozen=True)
class Integers:
    """Vectors and codewords of small integers, which all types represent and sum exactly. There are many ties."""

    z: NDArray[np.float32]
    codebook: NDArray[np.float32]

    @staticmethod
    def random(vectors: int, codewords: int, dimensions: int) -> Integers:
        random = np.random.default_rng([vectors, codewords, dimensions])
        return Integers(
            random.integers(-2, 3, (vectors, dimensions)).astype(np.float32),
            random.integers(-2, 3, (codewords, dimensions)).astype(np.float32),
        )


def images(rows: Values, positions: int) -> Values:
    """Converts rows [N, D] to [N / positions, D, positions]."""
    return np.ascontiguousarray(rows.reshape(-1, positions, rows.shape[1]).swapaxes(1, 2))


@pytest.mark.parametrize("exact", [0, 1])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("vectors", "codewords", "dimensions", "positions", "multiprocessors"),
    [(1, 1, 1, 0, 1), (130, 300, 19, 0, 1), (130, 300, 19, 65, 7), (9, 650, 8, 3, 1000), (16, 5, 33, 16, 2)],
)
def test_search_finds_the_nearest_codewords(
    launcher: Launcher,
    kind: str,
    exact: int,
    vectors: int,
    codewords: int,
    dimensions: int,
    positions: int,
    multiprocessors: int,
) -> None:
    data = Integers.random(vectors, codewords, dimensions)
    data.z[vectors // 2, 0] = np.nan
    z = narrow(data.z, kind)
    result = launcher.nearest(
        Problem(vectors, positions, dimensions, codewords, TYPES[kind], exact, multiprocessors),
        images(z, positions) if positions else z,
        narrow(data.codebook, kind),
    )
    expected = nearest_reference(data.z, data.codebook)
    np.testing.assert_array_equal(result.index, expected.index)
    np.testing.assert_array_equal(result.distance, expected.distance)
    codeword = widen(result.codeword)
    if positions:
        codeword = codeword.swapaxes(1, 2).reshape(vectors, dimensions)
    nearest = np.where(expected.index[:, None] < 0, np.nan, data.codebook[expected.index])
    np.testing.assert_array_equal(codeword, nearest)
    assert result.invalid == 1


@pytest.mark.parametrize("dimensions", [20, 70, 512])
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_margin_covers_truncated_products(launcher: Launcher, kind: str, dimensions: int) -> None:
    """As in test_nearest_grid.py, but without sanitizers, whose build is slow."""
    z, codebook = truncated_products(kind, dimensions)
    search = Problem(1, 0, dimensions, 2, TYPES[kind], 0, 1)
    assert launcher.nearest(search, z, codebook).index.tolist() == [1]


def test_a_prepared_codebook_is_reusable(launcher: Launcher) -> None:
    data = Integers.random(20, 40, 6)
    prepared = np.full(41, 1e30, np.float32)  # more than any norm
    launcher.prepare(problem(dimensions=6, codewords=40), data.codebook, prepared)
    np.testing.assert_array_equal(prepared[:40], -(data.codebook**2).sum(1) / 2)
    assert prepared[40] == pytest.approx(np.sqrt((data.codebook**2).sum(1).max()), rel=1e-5)
    for rows in (data.z[:7], data.z[7:]):
        request = problem(vectors=len(rows), dimensions=6, codewords=40)
        workspace, index = np.zeros(launcher.sizes(request)[1], np.uint8), np.full(len(rows), -7)
        memory = Memory(*(array.ctypes.data for array in (rows, data.codebook, prepared, workspace)), len(workspace))
        memory.index = index.ctypes.data  # distance and codeword are not requested
        launcher.search(request, memory)
        np.testing.assert_array_equal(index, nearest_reference(rows, data.codebook).index)


def test_no_vectors_need_no_memory(launcher: Launcher) -> None:
    launcher.search(problem(vectors=0), Memory())


def test_workspace_suffices_for_fewer_vectors(launcher: Launcher, tmp_path: Path) -> None:
    """The plan's partials_bytes, which the search checks, never exceeds it."""
    source = tmp_path / "plan.cpp"
    source.write_text(
        '#include "nearest_codebook/cuda/plan.h"\n'
        'extern "C" int64_t plan_bytes(int64_t n, int32_t k, int32_t m) {\n'
        "  return latentloop::nearest::plan(n, k, m).partials_bytes;\n}\n",
        encoding="utf-8",
    )
    plan_bytes = ctypes.CDLL(str(compile_native([source], tmp_path / "libplan.so", ["-shared", "-fPIC"]))).plan_bytes
    plan_bytes.argtypes, plan_bytes.restype = [ctypes.c_int64, ctypes.c_int32, ctypes.c_int32], ctypes.c_int64
    for codewords in (1, 129, 512, 8192):
        for multiprocessors in (1, 5, 132):
            most = largest = 0
            for vectors in [*range(0, 1400, 3), *range(1400, 90000, 1009)]:
                request = problem(vectors=vectors, codewords=codewords, multiprocessors=multiprocessors)
                workspace = launcher.sizes(request)[1]
                assert workspace >= most, "must not decrease with more vectors"
                most = workspace
                largest = max(largest, plan_bytes(vectors, codewords, multiprocessors))
                assert largest <= most
            slack = (2 * multiprocessors + 1) * TILE_VECTORS * PARTIAL_BYTES
            assert most <= largest + slack, "must not be much larger than necessary"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"vectors": -1}, "vectors is -1, expected 0 to 2147483648"),
        ({"vectors": 2**31 + 1}, "vectors is 2147483649, expected 0 to 2147483648"),
        ({"positions": -1}, "positions is -1, expected 0 to 2147483648"),
        ({"positions": 4}, "vectors is 6, expected a multiple of positions, 4"),
        ({"dimensions": 0}, "dimensions is 0, expected 1 to 512"),
        ({"dimensions": 513}, "dimensions is 513, expected 1 to 512"),
        ({"codewords": 0}, "codewords is 0, expected 1 to 65536"),
        ({"codewords": 65537}, "codewords is 65537, expected 1 to 65536"),
        ({"type": 3}, "type is 3, expected 0 to 2"),
        ({"type": -1}, "type is -1, expected 0 to 2"),
        ({"exact": 2}, "exact is 2, expected 0 to 1"),
        ({"multiprocessors": 0}, "multiprocessors is 0, expected 1 to 2147483647"),
    ],
)
def test_problems_out_of_range_are_rejected(launcher: Launcher, changed: dict[str, int], reason: str) -> None:
    request = problem(**changed)
    for call in (
        lambda: launcher.sizes(request),
        lambda: launcher.prepare(request, np.zeros(1), np.zeros(1)),
        lambda: launcher.search(request, Memory()),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
            call()


POINTERS = {
    "z": 4,
    "codebook": 4,
    "prepared": 4,
    "workspace": 16,
    "index": 8,
    "distance": 4,
    "codeword": 4,
    "invalid": 4,
}


@pytest.mark.parametrize("name", POINTERS)
def test_memory_must_not_be_null_or_unaligned(launcher: Launcher, name: str) -> None:
    noise = np.zeros(1 << 14, np.complex64)
    fields = {field: noise.ctypes.data for field in POINTERS}
    optional = name in ("distance", "codeword", "invalid")
    for address in ([] if optional else [0]) + [noise.ctypes.data + POINTERS[name] // 2]:
        message = rf"^{name} is .*, expected device memory that is aligned to {POINTERS[name]} bytes$"
        with pytest.raises(ValueError, match=message):
            launcher.search(problem(), Memory(**{**fields, name: address, "workspace_bytes": 1 << 20}))
    for codebook, prepared in ((0, 4), (2, 4), (4, 0), (4, 2)):
        status = launcher.library.latentloop_cuda_nearest_prepare(
            ctypes.byref(problem()), codebook or None, prepared or None, None
        )
        assert status == 1


def test_workspace_must_be_large_enough(launcher: Launcher) -> None:
    noise = np.zeros(64, np.complex64)
    fields = dict.fromkeys(POINTERS, noise.ctypes.data)
    with pytest.raises(ValueError, match=r"^workspace_bytes is 95, expected at least 96, from .*_sizes$"):
        launcher.search(problem(), Memory(**fields, workspace_bytes=95))


def test_cuda_errors_are_reported(tmp_path: Path) -> None:
    """A launcher with an invalid number of threads, which the simulation rejects."""
    kernels = tmp_path / "kernels"
    shutil.copytree(KERNELS / "nearest_codebook", kernels / "nearest_codebook")
    Mutant("257 threads", "launch", "dim3(kThreads)", "dim3(kThreads + 1)").insert(kernels)
    wrong = Launcher(compile_host([], tmp_path / "liblaunch.so", ["-O0", "-shared", "-fPIC"], kernels))
    with pytest.raises(
        RuntimeError, match=r"^preparing the codebook: CUDA error 719, kernel: a grid of .* 257 threads"
    ):
        wrong.nearest(problem(), np.zeros((6, 5), np.float32), np.zeros((3, 5), np.float32))


def test_header_is_c_and_its_example_runs(library: Path, tmp_path: Path) -> None:
    command = shutil.which("cc") or shutil.which("gcc")
    if command is None:
        pytest.skip("no C compiler")
    compiled = tmp_path / "test.o"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{KERNELS}"]
    done = subprocess.run(
        [command, *flags, "-c", NATIVE / "launch_test.c", "-o", compiled], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    program = tmp_path / "test"
    subprocess.run([command, compiled, library, f"-Wl,-rpath,{library.parent}", "-o", program], check=True)
    ran = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "0 1\n1 1\n1 20\n"), ran.stderr
