"""The nearest codeword on GPUs: on a fake GPU, and on real ones if available."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from fake_gpu.driver import FakeDriver
from gpu_arrays import TORCH_TYPES, InterfaceArray, adopt, put, put_interface
from made_once import made_once
from nearest_checks import Oracle, check_distance
from nearest_grid import NATIVE, compile_native, compiler, narrow, widen
from numpy.typing import NDArray

from latentloop.bench.nearest import gpu_smoke
from latentloop.kernels.driver import Driver, MissingGpuError, Stream, open_driver
from latentloop.kernels.nearest_codebook import launcher
from latentloop.kernels.nearest_codebook.launcher import FATBIN
from latentloop.kernels.nearest_codebook.on_gpu import GpuCodebook, Nearest, nearest_on_gpu
from latentloop.kernels.nearest_codebook.shapes import Layout

KINDS = ("f32", "f16", "bf16")
SIDE = Stream(0x1000)
OTHER = Stream(0x2000)

Values = NDArray[Any]


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if compiler() is None:
        pytest.skip("no C++ compiler")
    sources, flags = [NATIVE / "grid" / "nearest.cpp"], ["-O1", "-shared", "-fPIC"]
    return ctypes.CDLL(str(made_once(tmp_path_factory, "grid.so", lambda path: compile_native(sources, path, flags))))


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    if compiler() is None:
        pytest.skip("no C++ compiler")
    return Oracle.build(tmp_path_factory)


@pytest.fixture
def fake(kernels: ctypes.CDLL) -> Iterator[FakeDriver]:
    """A simulated driver. Checks at the end that all work has completed and all memory is freed."""
    driver = FakeDriver(kernels)
    yield driver
    driver.finish()
    gc.collect()
    assert driver.live() == 0
    driver.finish()


# ---- Tests of all drivers.


class Gpu(Protocol):
    """A driver, and a way to create arrays on its GPU."""

    @property
    def driver(self) -> Driver: ...

    def put(self, values: Values, kind: str) -> Any: ...


@dataclass
class FakeGpu:
    driver: FakeDriver

    def put(self, values: Values, kind: str) -> Any:
        return put(self.driver, values, kind)


@dataclass
class TorchGpu:
    driver: Driver

    def put(self, values: Values, kind: str) -> Any:
        return torch.from_numpy(values.copy()).cuda().view(TORCH_TYPES[kind])


@pytest.fixture(params=["fake", "cuda-python", "pycuda"])
def gpu(request: pytest.FixtureRequest) -> Gpu:
    if request.param == "fake":
        return FakeGpu(request.getfixturevalue("fake"))
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    if not FATBIN.is_file():
        pytest.skip("the GPU kernels were not compiled")
    try:
        return TorchGpu(open_driver(request.param))
    except MissingGpuError as error:
        pytest.skip(str(error))


def case(n: int, k: int, d: int, kind: str, seed: int = 0) -> tuple[Values, Values]:
    """Returns z [N, D] and codebook [K, D], with duplicate codewords and vectors that equal codewords."""
    rng = np.random.default_rng(seed)
    codebook = rng.normal(size=(k, d))
    codebook[k // 2 :] = codebook[: k - k // 2]
    z = rng.normal(size=(n, d))
    z[::3] = codebook[rng.integers(0, k, len(z[::3]))]
    return narrow(z, kind), narrow(codebook, kind)


def check(result: Nearest, z: Values, codebook: Values, oracle: Oracle, positions: int = 0) -> None:
    """Checks the requested outputs against the oracle. ``z`` is [N, D]."""
    n, d = z.shape
    index = result.index.numpy().reshape(n)
    np.testing.assert_array_equal(index, oracle.search(z, codebook)[1])
    assert result.invalid == np.count_nonzero(index < 0)
    expected = np.where(index[:, None] < 0, np.float32(np.nan), widen(codebook)[index])
    if result.codeword is not None:
        codeword = result.codeword.numpy()
        rows = codeword.reshape(-1, d, positions).transpose(0, 2, 1) if positions else codeword
        np.testing.assert_array_equal(rows.reshape(n, d), expected)
    if result.distance is not None:
        distance = result.distance.numpy().reshape(n)
        valid = index >= 0
        assert np.isnan(distance[~valid]).all()
        exact = np.square(widen(z)[valid].astype(np.float64) - expected[valid]).sum(1)
        check_distance(distance[valid], exact, d)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (19, 7, 5), (150, 300, 48), (989, 99, 33)])
def test_rows(n: int, k: int, d: int, kind: str, gpu: Gpu, oracle: Oracle) -> None:
    z, codebook = case(n, k, d, kind)
    outputs = [(True, True), (False, True), (True, False), (False, False)]
    for distance, codeword in outputs if n < 100 else outputs[:1]:
        result = nearest_on_gpu(
            gpu.put(z, kind), gpu.put(codebook, kind), distance=distance, codeword=codeword, driver=gpu.driver
        )
        assert (result.distance is None, result.codeword is None) == (not distance, not codeword)
        assert (result.index.shape, result.index.dtype) == ((n,), "int64")
        check(result, z, codebook, oracle)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("images", "size"), [(3, (5, 7)), (2, ()), (1, (4, 1, 9))])
def test_channels_first(images: int, size: tuple[int, ...], kind: str, gpu: Gpu, oracle: Oracle) -> None:
    positions = int(np.prod(size))
    z, codebook = case(images * positions, 40, 18, kind)
    z_images = np.ascontiguousarray(z.reshape(images, positions, 18).transpose(0, 2, 1)).reshape(images, 18, *size)
    result = nearest_on_gpu(
        gpu.put(z_images, kind), gpu.put(codebook, kind), layout="channels_first", distance=True, codeword=True,
        driver=gpu.driver,
    )  # fmt: skip
    assert result.distance is not None
    assert result.codeword is not None
    assert result.index.shape == result.distance.shape == (images, *size)
    assert result.codeword.shape == z_images.shape
    check(result, z, codebook, oracle, positions)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_codewords_that_are_not_finite(kind: str, gpu: Gpu, oracle: Oracle) -> None:
    z, codebook = case(40, 30, 9, kind)
    wide, words = widen(z).copy(), widen(codebook).copy()
    wide[[3, 17, 39], [0, 4, 8]] = np.nan, np.inf, -np.inf
    words[0, 0], words[29, 8] = np.inf, np.nan
    z, codebook = narrow(wide, kind), narrow(words, kind)
    result = nearest_on_gpu(gpu.put(z, kind), gpu.put(codebook, kind), distance=True, codeword=True, driver=gpu.driver)
    assert result.invalid == 3
    check(result, z, codebook, oracle)
    no_codeword = nearest_on_gpu(gpu.put(z, kind), gpu.put(narrow(words * np.nan, kind), kind), driver=gpu.driver)
    assert no_codeword.invalid == 40


def test_no_vectors(gpu: Gpu) -> None:
    codebook = gpu.put(narrow(np.ones((4, 3)), "f32"), "f32")
    cases: list[tuple[Layout, tuple[int, ...], tuple[int, ...]]] = [
        ("rows", (0, 3), (0,)),
        ("rows", (2, 0, 3), (2, 0)),
        ("channels_first", (2, 3, 0, 5), (2, 0, 5)),
    ]
    for layout, shape, index in cases:
        z = gpu.put(np.empty(shape, np.float32), "f32")
        result = nearest_on_gpu(
            z,
            codebook,
            layout=layout,
            distance=True,
            codeword=True,
            driver=gpu.driver,
        )
        assert result.codeword is not None
        assert result.index.numpy().shape == index
        assert result.codeword.numpy().shape == shape
        assert result.invalid == 0


def test_a_prepared_codebook_is_reusable(gpu: Gpu, oracle: Oracle) -> None:
    z, codebook = case(50, 21, 6, "f32")
    prepared = GpuCodebook(gpu.put(codebook, "f32"), driver=gpu.driver)
    assert (prepared.shape, prepared.dtype) == ((21, 6), "float32")
    for part in (slice(0, 20), slice(20, 50)):
        check(nearest_on_gpu(gpu.put(z[part], "f32"), prepared), z[part], codebook, oracle)
    if isinstance(gpu.driver, FakeDriver):
        assert gpu.driver.launched.count("nearest_prepare_f32") == 1


# ---- Tests that need the fake GPU.


@pytest.mark.parametrize("multiprocessors", [1, 4, 132])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_splits(multiprocessors: int, kind: str, kernels: ctypes.CDLL, oracle: Oracle) -> None:
    driver = FakeDriver(kernels, multiprocessors=multiprocessors)
    z, codebook = case(9, 700, 16, kind)
    check(nearest_on_gpu(put(driver, z, kind), put(driver, codebook, kind), driver=driver), z, codebook, oracle)


def test_the_small_searches_of_the_bench(kernels: ctypes.CDLL) -> None:
    assert gpu_smoke.run(FakeDriver(kernels, pageable=True)) == 16


def test_temporary_memory_is_freed_and_results_stay(fake: FakeDriver, oracle: Oracle) -> None:
    z, codebook = case(30, 20, 4, "f32")
    result = nearest_on_gpu(put(fake, z, "f32"), put(fake, codebook, "f32"), distance=True, driver=fake)
    gc.collect()
    assert fake.live() == 4  # index, distance, invalid, and the codebook's norms, which the result keeps
    index, imported = result.index, adopt(result.distance)
    del result
    gc.collect()
    assert fake.live() == 2
    np.testing.assert_array_equal(index.numpy(), oracle.search(z, codebook)[1])
    fake.finish()
    assert np.isfinite(imported).all()
    del imported
    gc.collect()
    assert fake.live() == 1


# ---- Faults are detected.


def across_streams(driver: FakeDriver, oracle: Oracle) -> None:
    """Inputs produced on two streams, norms on a third, the search on the first, its result read on a fourth."""
    z, codebook = case(40, 30, 8, "f16", 5)
    prepared = GpuCodebook(put(driver, codebook, "f16", Stream(0x3000)), stream=SIDE, driver=driver)
    result = nearest_on_gpu(put_interface(driver, z, OTHER), prepared, distance=True)
    del prepared  # the search on the other stream has not used its norms yet
    consumer = Stream(0x4000)
    result.index.__dlpack__(stream=consumer.handle)
    with driver.use(0):
        read = driver.to_host(result.index.pointer, result.index.shape[0] * 8, consumer)
    np.testing.assert_array_equal(np.frombuffer(read, np.int64), oracle.search(z, codebook)[1])
    check(result, z, codebook, oracle)


@pytest.mark.parametrize("seed", range(8))
def test_streams(seed: int, kernels: ctypes.CDLL, oracle: Oracle) -> None:
    driver = FakeDriver(kernels, seed)
    across_streams(driver, oracle)
    gc.collect()
    assert driver.live() == 0


def half_the_partials(vectors: int, codewords: int, multiprocessors: int) -> launcher.Plan:
    layout = _PLAN(vectors, codewords, multiprocessors)
    layout.partials_bytes //= 2
    return layout


_PLAN = launcher.plan


MUTANTS: dict[str, tuple[Any, str, object]] = {
    "no wait for the norms": (GpuCodebook, "await_norms", lambda *_: None),
    "no wait for producers": (FakeDriver, "wait", lambda *_: None),
    "memory not set to 0": (FakeDriver, "zero", lambda *_: None),
    "partials too small": (launcher, "plan", half_the_partials),
    "wrong device": (FakeDriver, "device_of", lambda *_: 1),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_faulty_launchers_are_detected(
    mutant: str, monkeypatch: pytest.MonkeyPatch, kernels: ctypes.CDLL, oracle: Oracle
) -> None:
    driver = FakeDriver(kernels, devices=2)
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises((AssertionError, ValueError)):
        across_streams(driver, oracle)


def test_arrays_of_two_devices(kernels: ctypes.CDLL, oracle: Oracle) -> None:
    driver = FakeDriver(kernels, devices=2)
    z, codebook = case(5, 4, 3, "f32")
    words = put(driver, codebook, "f32", device=1)
    with pytest.raises(ValueError, match="z is on cuda:0, the codebook on cuda:1, expected one device"):
        nearest_on_gpu(put(driver, z, "f32"), words, driver=driver)
    result = nearest_on_gpu(put(driver, z, "f32", device=1), words, driver=driver)
    assert result.index.__dlpack_device__() == (2, 1)
    check(result, z, codebook, oracle)


def test_memory_at_any_alignment_of_an_element(fake: FakeDriver, oracle: Oracle) -> None:
    for kind, size in (("f32", 4), ("f16", 2), ("bf16", 2)):
        z, codebook = case(7, 9, 16, kind)
        result = nearest_on_gpu(
            put(fake, z, kind, offset=size), put(fake, codebook, kind, offset=3 * size), driver=fake
        )
        check(result, z, codebook, oracle)
    with pytest.raises(ValueError, match="expected a multiple of its values' 4 bytes"):
        nearest_on_gpu(
            InterfaceArray((2, 2), "<f4", fake.put(np.zeros((2, 2), np.float32), offset=2)),
            put_interface(fake, np.zeros((2, 2), np.float32)),
            driver=fake,
        )


@pytest.mark.parametrize("accepts_options", [False, True])
def test_all_dlpack_versions_are_released(accepts_options: bool, fake: FakeDriver, oracle: Oracle) -> None:
    z, codebook = case(8, 6, 5, "f32")
    vectors = put(fake, z, "f32")
    vectors.accepts_options = accepts_options
    memory = vectors.memory
    result = nearest_on_gpu(vectors, put(fake, codebook, "f32"), driver=fake)
    check(result, z, codebook, oracle)
    del vectors
    gc.collect()
    assert memory() is not None
    del result
    gc.collect()
    assert memory() is None
