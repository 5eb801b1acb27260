"""The nearest codeword on the CPU: the native kernel, and NumPy without it."""

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
from typing import Any, Literal

import numpy as np
import pytest
import torch
from nearest_cpu_checks import EPSILON, SHAPES, SPECIAL, Array, check, random
from numpy.typing import NDArray
from random_models import LIBRARY, NATIVE

from latentloop.kernels import Codebook, nearest_codebook
from latentloop.kernels.nearest_codebook import codebook as preparation
from latentloop.kernels.nearest_codebook import on_cpu as cpu
from latentloop.kernels.nearest_codebook.codebook import Nearest
from latentloop.kernels.nearest_codebook.reference import nearest_reference


@pytest.fixture(params=[NATIVE, pytest.param(None, id="numpy")])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The native library, and NumPy without it."""
    if request.param is None:
        monkeypatch.setattr(preparation, "library", lambda: None)
        monkeypatch.setattr(cpu, "library", lambda: None)


def all_outputs(z: Any, codebook: Any, **options: Any) -> tuple[NDArray[np.int64], Array, Array, int]:
    """Returns index, distance, codeword and the number of vectors without a nearest codeword."""
    result = nearest_codebook(z, codebook, distance=True, codeword=True, **options)
    return result.index, result.distance, result.codeword, result.invalid


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_equals_the_reference(n: int, d: int, k: int) -> None:
    z, codebook = random(n, d), random(k, d, seed=1)
    index, distance, codeword, invalid = all_outputs(z, codebook)
    exact_distance = check(z, codebook, index)
    np.testing.assert_allclose(distance, exact_distance, rtol=(d + 2) * EPSILON)
    np.testing.assert_array_equal(codeword, codebook[index])
    assert invalid == 0
    plain = nearest_codebook(z, codebook)
    assert plain.distance is None
    assert plain.codeword is None
    np.testing.assert_array_equal(plain.index, index)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 5), (1, 5, 99), (60, 5, 1), (0, 5, 3), (3, 5, 0)])
def test_channels_first_equals_rows(shape: tuple[int, ...]) -> None:
    z, codebook = random(*shape), random(9, 5, seed=1)
    index, distance, codeword, _ = all_outputs(z, codebook, layout="channels_first")
    rows = all_outputs(np.moveaxis(z, 1, -1), codebook)
    np.testing.assert_array_equal(index, rows[0])
    np.testing.assert_array_equal(distance, rows[1])
    np.testing.assert_array_equal(codeword, np.moveaxis(rows[2], -1, 1))
    assert index.shape == (shape[0], *shape[2:])


@pytest.mark.usefixtures("implementation")
def test_any_number_of_axes_and_empty_arrays() -> None:
    codebook = random(9, 5, seed=1)
    z = random(2, 3, 4, 5)
    whole = nearest_codebook(z, codebook).index
    assert whole.shape == (2, 3, 4)
    assert nearest_codebook(z[1, 2, 3], codebook).index == whole[1, 2, 3]
    empty = nearest_codebook(np.empty((0, 5), np.float32), codebook, distance=True)
    assert empty.index.shape == (0,)
    assert empty.distance is not None
    assert empty.distance.shape == (0,)


@pytest.mark.usefixtures("implementation")
def test_ties_return_the_lowest_index() -> None:
    half = random(150, 64)
    codebook = np.concatenate([half, half, half])
    np.testing.assert_array_equal(nearest_codebook(half, codebook).index, np.arange(150))
    np.testing.assert_array_equal(nearest_codebook(random(333, 64), np.zeros((300, 64), np.float32)).index, 0)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("value", SPECIAL)
def test_values_that_are_not_finite(value: float) -> None:
    z, codebook = random(130, 6), random(70, 6, seed=1)
    z[::3, 4] = value
    codebook[::2, 1] = value
    index, distance, codeword, invalid = all_outputs(z, codebook)
    np.testing.assert_array_equal(index, nearest_reference(z, codebook).index)
    assert (index[::3] == -1).all()
    assert invalid == len(z[::3])
    np.testing.assert_array_equal(np.isnan(distance), index < 0)
    np.testing.assert_array_equal(np.isnan(codeword).all(1), index < 0)
    no_codeword = nearest_codebook(z, np.full((3, 6), value, np.float32))
    assert (no_codeword.index == -1).all()
    assert no_codeword.invalid == len(z)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("scale", [1, 1e17, 1e-25, 1e-40])
@pytest.mark.parametrize("spread", [1, 1e-3, 1e-6])
def test_results_do_not_depend_on_the_batch(scale: float, spread: float) -> None:
    """They are bit-identical, even if codewords are so close that rounding decides."""
    codebook = ((random(1, 70) + spread * random(90, 70, seed=1)) * scale).astype(np.float32)
    z = random(120, 70, seed=2)
    book = Codebook(codebook)
    index, distance, _, _ = all_outputs(z, book)
    images = all_outputs(z.reshape(2, 60, 70).transpose(0, 2, 1), book, layout="channels_first")
    np.testing.assert_array_equal(images[0].ravel(), index)
    np.testing.assert_array_equal(images[1].ravel(), distance)
    for n in range(0, 120, 7):
        for count in (1, 2, 5):
            part = all_outputs(z[n : n + count], book)
            np.testing.assert_array_equal(part[0], index[n : n + count])
            np.testing.assert_array_equal(part[1], distance[n : n + count])


@pytest.mark.usefixtures("implementation")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    book, z = Codebook(random(256, 64)), random(3000, 64, seed=1)
    one = nearest_codebook(z, book, threads=1, distance=True)
    for threads in (2, 5, None):
        more = nearest_codebook(z, book, threads=threads, distance=True)
        np.testing.assert_array_equal(more.index, one.index)
        np.testing.assert_array_equal(more.distance, one.distance)


def test_a_codebook_is_thread_safe() -> None:
    book = Codebook(random(99, 19))
    parts = [random(500, 19, seed=seed) for seed in range(4)]
    results: dict[int, Nearest] = {}

    def search(number: int) -> None:
        results[number] = nearest_codebook(parts[number], book)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(results[number].index, nearest_codebook(part, book).index)


@pytest.mark.usefixtures("implementation")
def test_strides_offsets_and_other_libraries() -> None:
    codebook, z = random(9, 5, seed=1), random(40, 12)
    expected = nearest_codebook(np.ascontiguousarray(z[::2, 3:8]), codebook).index
    strided = z[::2, 3:8]
    shifted = np.frombuffer(bytearray(3 + strided.size * 4), np.uint8)[3:].view()
    shifted[:] = np.ascontiguousarray(strided).view(np.uint8).ravel()
    unaligned = np.ndarray(strided.shape, np.float32, shifted.data)
    frozen = strided.copy()
    frozen.flags.writeable = False
    for array in (strided, unaligned, frozen, torch.from_numpy(strided.copy())):
        np.testing.assert_array_equal(nearest_codebook(array, codebook).index, expected)
    np.testing.assert_array_equal(nearest_codebook(strided, torch.from_numpy(codebook)).index, expected)


def test_a_codebook_copies_its_values() -> None:
    codewords, z = random(9, 5), random(40, 5, seed=1)
    book = Codebook(codewords)
    expected = nearest_codebook(z, book).index
    codewords[:] = 0
    np.testing.assert_array_equal(nearest_codebook(z, book).index, expected)
    assert np.isneginf(Codebook(np.array([[np.nan], [2e38]], np.float32)).half_norms).tolist() == [True, True]
    np.testing.assert_array_equal(Codebook(np.array([[3.0, 1]], np.float32)).half_norms, [-5])


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, lambda book: pickle.loads(pickle.dumps(book))])
def test_a_copy_of_a_codebook_outlives_it(copier: Callable[[Codebook], Codebook]) -> None:
    z = random(40, 5, seed=1)
    book = Codebook(random(9, 5))
    expected, copied = nearest_codebook(z, book).index, copier(book)
    del book
    gc.collect()
    assert copied.handle is None or copied.handle.value
    np.testing.assert_array_equal(nearest_codebook(z, copied).index, expected)


def test_daemon_threads_may_search_at_interpreter_exit() -> None:
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


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("z", "codebook"), [((3, 4), (2, 5)), ((), (2, 3)), ((3, 4), (4,)), ((3, 4), (0, 4))])
def test_invalid_shapes(z: tuple[int, ...], codebook: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"(z|codebook) has shape \[.*\], expected \["):
        nearest_codebook(np.zeros(z, np.float32), np.zeros(codebook, np.float32))


def test_other_invalid_arguments() -> None:
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
    with pytest.raises(TypeError, match="codebook is masked, expected an array without a mask"):
        nearest_codebook(z, np.ma.masked_less(codebook, 0))
    with pytest.raises(TypeError, match=r"z requires a gradient, .* pass z.detach\(\)"):
        nearest_codebook(torch.from_numpy(z).requires_grad_(), codebook)
    layout: Any = "columns"
    with pytest.raises(ValueError, match="layout is 'columns', expected 'rows' or 'channels_first'"):
        nearest_codebook(z, codebook, layout=layout)
    with pytest.raises(ValueError, match=r"z has shape \[4, 5\], expected \[B, 4, ...\]"):
        nearest_codebook(z, random(3, 4), layout="channels_first")
    with pytest.raises(ValueError, match="stream must be None, because z is not on a GPU"):
        nearest_codebook(torch.from_numpy(z), codebook, stream=0)


@pytest.mark.usefixtures("implementation")
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
    book = Codebook(random(3, 5))
    z, index = random(4, 5), np.empty(4, np.int64)
    valid = [book.handle, z.ctypes.data, 4, 0, 1, index.ctypes.data, None, None]
    assert functions.latentloop_nearest_codebook(*valid) == 0
    for position, wrong in ((0, None), (1, None), (2, -1), (2, 2**41), (3, -1), (3, 3), (4, -1), (5, None)):
        arguments = [wrong if at == position else value for at, value in enumerate(valid)]
        assert functions.latentloop_nearest_codebook(*arguments) == -1
    handle = ctypes.c_void_p()
    address = ctypes.addressof(handle)
    for count, dimensions in ((0, 5), (65537, 5), (3, 0), (3, 513)):
        assert functions.latentloop_codebook_create(z.ctypes.data, count, dimensions, address) == 1
    assert functions.latentloop_codebook_create(None, 3, 5, address) == 1
    assert functions.latentloop_codebook_create(z.ctypes.data, 3, 5, None) == 1
    functions.latentloop_codebook_free(None)


@pytest.mark.parametrize("layout", ["rows", "channels_first"])
def test_codebooks_and_threads_are_rejected_for_arrays_on_a_gpu(layout: Literal["rows", "channels_first"]) -> None:
    class OnGpu:
        __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 (an instance of the protocol)

    with pytest.raises(TypeError, match="codebook is a Codebook, which is in host memory"):
        nearest_codebook(OnGpu(), Codebook(random(3, 5)), layout=layout)
    with pytest.raises(ValueError, match="threads is 2, expected None"):
        nearest_codebook(OnGpu(), random(3, 5), layout=layout, threads=2)
