"""The nearest codeword on the CPU: the compiled kernel, NumPy in its place, and ONNX's operator and its body."""

from __future__ import annotations

import copy
import ctypes
import gc
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_models import LIBRARY, NATIVE

from latentloop.backends.cpu.session import OrtSession
from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder, WeightStore
from latentloop.export.graphs.nearest import nearest_codebook as nearest_node
from latentloop.kernels import Codebook, nearest_codebook
from latentloop.kernels.nearest_codebook import codebook as preparation
from latentloop.kernels.nearest_codebook import on_cpu as cpu
from latentloop.kernels.nearest_codebook.codebook import Nearest
from latentloop.kernels.nearest_codebook.reference import nearest_reference

Array = NDArray[np.float32]
EPSILON = float(np.finfo(np.float32).eps)
ODD = (np.nan, np.inf, -np.inf, 3e38)
SHAPES = [(1, 1, 1), (1, 64, 16384), (2, 3, 2), (49, 5, 7), (99, 19, 33), (500, 64, 512), (48, 130, 100), (7, 512, 40)]


@pytest.fixture(params=[NATIVE, pytest.param(None, id="numpy")])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiled library, and without it."""
    if request.param is None:
        monkeypatch.setattr(preparation, "library", lambda: None)
        monkeypatch.setattr(cpu, "library", lambda: None)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def error(z: Array, codewords: Array) -> NDArray[np.float64]:
    """The error of |z - e|^2 that kernels/nearest_codebook/arguments.h states, for each vector and its codeword."""
    norm, other = (np.sqrt(np.square(x, dtype=np.float64).sum(1)) for x in (z, codewords))
    bound: NDArray[np.float64] = (z.shape[1] / 2 + 2) * EPSILON * (other**2 + 2 * norm * other)
    return bound


def everything(z: Any, codebook: Any, **options: Any) -> tuple[NDArray[np.int64], Array, Array, int]:
    """Index, distance, codeword and how many vectors have none."""
    found = nearest_codebook(z, codebook, distance=True, codeword=True, **options)
    return found.index, found.distance, found.codeword, found.invalid


def check(z: Array, codebook: Array, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Every index is the nearest within the stated error; returns the true distances."""
    expected = nearest_reference(z, codebook)
    assert index.dtype == np.int64
    assert index.shape == (len(z),)
    assert ((index >= 0) & (index < len(codebook))).all()
    chosen: NDArray[np.float64] = np.square(z.astype(np.float64) - codebook[index]).sum(1)
    slack = error(z, codebook[index]) + error(z, codebook[expected.index])
    assert (chosen <= expected.distance + slack).all(), (chosen - expected.distance - slack).max()
    clear: NDArray[np.bool_] = expected.runner_up - expected.distance > 2 * slack
    np.testing.assert_array_equal(index[clear], expected.index[clear])
    return chosen


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_equals_the_reference(n: int, d: int, k: int) -> None:
    z, codebook = random(n, d), random(k, d, seed=1)
    index, distance, codeword, invalid = everything(z, codebook)
    chosen = check(z, codebook, index)
    np.testing.assert_allclose(distance, chosen, rtol=(d + 2) * EPSILON)
    np.testing.assert_array_equal(codeword, codebook[index])
    assert invalid == 0
    plain = nearest_codebook(z, codebook)
    assert plain.distance is None
    assert plain.codeword is None
    np.testing.assert_array_equal(plain.index, index)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 5), (1, 5, 99), (60, 5, 1), (0, 5, 3), (3, 5, 0)])
def test_channels_first_are_the_same_rows(shape: tuple[int, ...]) -> None:
    z, codebook = random(*shape), random(9, 5, seed=1)
    index, distance, codeword, _ = everything(z, codebook, layout="channels_first")
    rows = everything(np.moveaxis(z, 1, -1), codebook)
    np.testing.assert_array_equal(index, rows[0])
    np.testing.assert_array_equal(distance, rows[1])
    np.testing.assert_array_equal(codeword, np.moveaxis(rows[2], -1, 1))
    assert index.shape == (shape[0], *shape[2:])


@pytest.mark.usefixtures("way")
def test_any_number_of_axes_and_none() -> None:
    codebook = random(9, 5, seed=1)
    z = random(2, 3, 4, 5)
    whole = nearest_codebook(z, codebook).index
    assert whole.shape == (2, 3, 4)
    assert nearest_codebook(z[1, 2, 3], codebook).index == whole[1, 2, 3]
    empty = nearest_codebook(np.empty((0, 5), np.float32), codebook, distance=True)
    assert empty.index.shape == (0,)
    assert empty.distance is not None
    assert empty.distance.shape == (0,)


@pytest.mark.usefixtures("way")
def test_ties_take_the_lowest_index() -> None:
    half = random(150, 64)
    codebook = np.concatenate([half, half, half])
    np.testing.assert_array_equal(nearest_codebook(half, codebook).index, np.arange(150))
    np.testing.assert_array_equal(nearest_codebook(random(333, 64), np.zeros((300, 64), np.float32)).index, 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_finite(odd: float) -> None:
    z, codebook = random(130, 6), random(70, 6, seed=1)
    z[::3, 4] = odd
    codebook[::2, 1] = odd
    index, distance, codeword, invalid = everything(z, codebook)
    np.testing.assert_array_equal(index, nearest_reference(z, codebook).index)
    assert (index[::3] == -1).all()
    assert invalid == len(z[::3])
    np.testing.assert_array_equal(np.isnan(distance), index < 0)
    np.testing.assert_array_equal(np.isnan(codeword).all(1), index < 0)
    nothing = nearest_codebook(z, np.full((3, 6), odd, np.float32))
    assert (nothing.index == -1).all()
    assert nothing.invalid == len(z)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("scale", [1, 1e17, 1e-25, 1e-40])
@pytest.mark.parametrize("spread", [1, 1e-3, 1e-6])
def test_a_vector_alone_is_the_vector_in_a_batch(scale: float, spread: float) -> None:
    """Bit for bit, also where codewords are so close that rounding decides."""
    codebook = ((random(1, 70) + spread * random(90, 70, seed=1)) * scale).astype(np.float32)
    z = random(120, 70, seed=2)
    book = Codebook(codebook)
    index, distance, _, _ = everything(z, book)
    images = everything(z.reshape(2, 60, 70).transpose(0, 2, 1), book, layout="channels_first")
    np.testing.assert_array_equal(images[0].ravel(), index)
    np.testing.assert_array_equal(images[1].ravel(), distance)
    for n in range(0, 120, 7):
        for count in (1, 2, 5):
            some = everything(z[n : n + count], book)
            np.testing.assert_array_equal(some[0], index[n : n + count])
            np.testing.assert_array_equal(some[1], distance[n : n + count])


@pytest.mark.usefixtures("way")
def test_threads_change_nothing() -> None:
    book, z = Codebook(random(256, 64)), random(3000, 64, seed=1)
    one = nearest_codebook(z, book, threads=1, distance=True)
    for threads in (2, 5, None):
        more = nearest_codebook(z, book, threads=threads, distance=True)
        np.testing.assert_array_equal(more.index, one.index)
        np.testing.assert_array_equal(more.distance, one.distance)


def test_a_codebook_serves_several_threads() -> None:
    book = Codebook(random(99, 19))
    parts = [random(500, 19, seed=seed) for seed in range(4)]
    found: dict[int, Nearest] = {}

    def search(number: int) -> None:
        found[number] = nearest_codebook(parts[number], book)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(found[number].index, nearest_codebook(part, book).index)


@pytest.mark.usefixtures("way")
def test_strides_offsets_and_other_libraries() -> None:
    codebook, z = random(9, 5, seed=1), random(40, 12)
    expected = nearest_codebook(np.ascontiguousarray(z[::2, 3:8]), codebook).index
    strided = z[::2, 3:8]
    shifted = np.frombuffer(bytearray(3 + strided.size * 4), np.uint8)[3:].view()
    shifted[:] = np.ascontiguousarray(strided).view(np.uint8).ravel()
    unaligned = np.ndarray(strided.shape, np.float32, shifted.data)
    frozen = strided.copy()
    frozen.flags.writeable = False
    for given in (strided, unaligned, frozen, torch.from_numpy(strided.copy())):
        np.testing.assert_array_equal(nearest_codebook(given, codebook).index, expected)
    np.testing.assert_array_equal(nearest_codebook(strided, torch.from_numpy(codebook)).index, expected)


def test_a_codebook_keeps_its_own_values() -> None:
    codewords, z = random(9, 5), random(40, 5, seed=1)
    book = Codebook(codewords)
    expected = nearest_codebook(z, book).index
    codewords[:] = 0
    np.testing.assert_array_equal(nearest_codebook(z, book).index, expected)
    assert np.isneginf(Codebook(np.array([[np.nan], [2e38]], np.float32)).half_norms).tolist() == [True, True]
    np.testing.assert_array_equal(Codebook(np.array([[3.0, 1]], np.float32)).half_norms, [-5])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("form", [copy.copy, copy.deepcopy, lambda book: pickle.loads(pickle.dumps(book))])
def test_a_copy_of_a_codebook_outlives_it(form: Callable[[Codebook], Codebook]) -> None:
    z = random(40, 5, seed=1)
    book = Codebook(random(9, 5))
    expected, copied = nearest_codebook(z, book).index, form(book)
    del book
    gc.collect()
    assert copied.handle is None or copied.handle.value
    np.testing.assert_array_equal(nearest_codebook(z, copied).index, expected)


def test_a_search_may_outlast_the_interpreter() -> None:
    program = """
import threading, time
import numpy as np
from latentloop.kernels import Codebook, nearest_codebook

book, z = Codebook(np.ones((4096, 64), np.float32)), np.ones((2048, 64), np.float32)
def search():
    while True:
        nearest_codebook(z, book, threads=1)
for _ in range(3):
    threading.Thread(target=search, daemon=True).start()
time.sleep(0.3)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("z", "codebook"), [((3, 4), (2, 5)), ((), (2, 3)), ((3, 4), (4,)), ((3, 4), (0, 4))])
def test_shapes_that_do_not_fit(z: tuple[int, ...], codebook: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"(z|codebook) is \[.*\], expected \["):
        nearest_codebook(np.zeros(z, np.float32), np.zeros(codebook, np.float32))


def test_what_else_is_refused() -> None:
    z, codebook = random(4, 5), random(3, 5)
    with pytest.raises(TypeError, match=r"z is float64, expected float32 .*astype"):
        nearest_codebook(z.astype(np.float64), codebook)
    with pytest.raises(TypeError, match="codebook is float16, expected float32"):
        nearest_codebook(z, codebook.astype(np.float16))
    with pytest.raises(ValueError, match="D from 1 to 512"):
        Codebook(np.zeros((3, 513), np.float32))
    for threads in (0, -1, 2**31, 2**32):
        with pytest.raises(ValueError, match=f"threads is {threads}, expected 1 to 1024"):
            nearest_codebook(z, codebook, threads=threads)
    fraction: Any = 1.5
    with pytest.raises(TypeError, match="integer"):
        nearest_codebook(z, codebook, threads=fraction)
    with pytest.raises(TypeError, match="codebook is masked, expected an array whose values all count"):
        nearest_codebook(z, np.ma.masked_less(codebook, 0))
    with pytest.raises(TypeError, match=r"z requires a gradient, .* pass z.detach\(\)"):
        nearest_codebook(torch.from_numpy(z).requires_grad_(), codebook)
    layout: Any = "columns"
    with pytest.raises(ValueError, match="layout is 'columns', expected 'rows' or 'channels_first'"):
        nearest_codebook(z, codebook, layout=layout)
    with pytest.raises(ValueError, match=r"z is \[4, 5\], expected \[B, 4, ...\]"):
        nearest_codebook(z, random(3, 4), layout="channels_first")
    with pytest.raises(ValueError, match="stream is given, but z is not on a GPU"):
        nearest_codebook(torch.from_numpy(z), codebook, stream=0)


@pytest.mark.usefixtures("way")
def test_memory_does_not_grow_with_vectors_times_codewords() -> None:
    z, codebook = random(4000, 4), random(2000, 4, seed=1)  # 32 MB of scores
    book = Codebook(codebook)
    tracemalloc.start()
    try:
        nearest_codebook(z, book)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


@pytest.mark.skipif(LIBRARY is None, reason="no library built")
def test_the_library_checks_its_arguments() -> None:
    functions = preparation.library()
    assert functions is not None
    made = Codebook(random(3, 5))
    z, index = random(4, 5), np.empty(4, np.int64)
    good = [made.handle, z.ctypes.data, 4, 0, 1, index.ctypes.data, None, None]
    assert functions.latentloop_nearest_codebook(*good) == 0
    for position, wrong in ((0, None), (1, None), (2, -1), (2, 2**41), (3, -1), (3, 3), (4, -1), (5, None)):
        arguments = [wrong if at == position else value for at, value in enumerate(good)]
        assert functions.latentloop_nearest_codebook(*arguments) == -1
    handle = ctypes.c_void_p()
    address = ctypes.addressof(handle)
    for count, dimensions in ((0, 5), (65537, 5), (3, 0), (3, 513)):
        assert functions.latentloop_codebook_create(z.ctypes.data, count, dimensions, address) == 1
    assert functions.latentloop_codebook_create(None, 3, 5, address) == 1
    assert functions.latentloop_codebook_create(z.ctypes.data, 3, 5, None) == 1
    functions.latentloop_codebook_free(None)


# ---- ONNX.


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., OrtSession]:
    """The graph of one node for a codebook, with the operator or with its body."""

    def make(codebook: Array, rank: int, channels_first: bool, library: Path | None) -> OrtSession:
        g = GraphBuilder("nearest", WeightStore())
        shape: list[int | str] = [f"z.{axis}" for axis in range(rank)]
        shape[1 if channels_first else rank - 1] = codebook.shape[1]
        weight = g.weight("codebook", codebook)
        index = nearest_node(g, g.input("z", FLOAT, shape), weight, rank=rank, channels_first=channels_first)
        g.output("index", index, INT64, [f"i.{axis}" for axis in range(rank - 1)])
        write_graphs(tmp_path, {"nearest.onnx": g}, g.store)
        return OrtSession(tmp_path / "nearest.onnx", threads=2, operators=library)

    return make


LIBRARIES = [NATIVE, pytest.param(None, id="body")]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_the_operator_equals_the_reference(
    n: int, d: int, k: int, library: Path | None, node: Callable[..., OrtSession]
) -> None:
    z, codebook = random(n, d), random(k, d, seed=1)
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    check(z, codebook, index)
    if library is not None:
        np.testing.assert_array_equal(index, nearest_codebook(z, codebook).index)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 5), (1, 5, 99), (0, 5, 3)])
def test_the_operator_takes_channels_first(
    shape: tuple[int, ...], library: Path | None, node: Callable[..., OrtSession]
) -> None:
    z, codebook = random(*shape), random(9, 5, seed=1)
    index = node(codebook, len(shape), True, library).run({"z": z})["index"]
    np.testing.assert_array_equal(index, nearest_codebook(z, codebook, layout="channels_first").index)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("odd", ODD)
def test_the_operator_leaves_out_what_is_not_finite(
    odd: float, library: Path | None, node: Callable[..., OrtSession]
) -> None:
    z, codebook = random(130, 6), random(70, 6, seed=1)
    z[::3, 4] = odd
    codebook[::2, 1] = odd
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    np.testing.assert_array_equal(index, nearest_reference(z, codebook).index)
    nothing = node(np.full((3, 6), odd, np.float32), 2, False, library).run({"z": z})["index"]
    assert (nothing == -1).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dimensions", [1, 5, 6, 33, 64, 130])
def test_the_operator_takes_the_lowest_of_equal_ones(
    library: Path | None, dimensions: int, node: Callable[..., OrtSession]
) -> None:
    once = random(17, dimensions)
    codebook = once[np.arange(40) % 17]  # copies lie at other places of a vector register
    z = random(500, dimensions, seed=1)
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    np.testing.assert_array_less(index, 17)
    check(z, codebook, index)


@pytest.mark.parametrize("layout", ["rows", "channels_first"])
def test_an_array_on_a_gpu_is_not_taken_for_one_in_host_memory(layout: Literal["rows", "channels_first"]) -> None:
    class OnGpu:
        __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 (an instance of the protocol)

    with pytest.raises(TypeError, match="codebook is a Codebook, which is in host memory"):
        nearest_codebook(OnGpu(), Codebook(random(3, 5)), layout=layout)
    with pytest.raises(ValueError, match="threads is 2, expected None"):
        nearest_codebook(OnGpu(), random(3, 5), layout=layout, threads=2)
