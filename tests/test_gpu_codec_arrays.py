"""Encoding and decoding of GPU arrays from other libraries, ordered with the caller's stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_arrays import InterfaceArray, adopt, put, put_interface
from gpu_machines import Machines, WatchedDriver, check_images, with_engines
from numpy.typing import NDArray

from latentloop import Bundle, InputError, Sampler
from latentloop.kernels.driver.stream import LEGACY, Stream

SIDE = Stream(0x1000)
IMAGE = (32, 48, 3)
AT_ONCE = 16
KINDS = {np.dtype(np.uint8): "u8", np.dtype(np.int64): "i64"}


@pytest.fixture(scope="module")
def engines(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_engines(small_bundle, tmp_path_factory.mktemp("engines") / "wide", max_batch=AT_ONCE)


@pytest.fixture(scope="module")
def cpu(engines: Path) -> Sampler:
    return Sampler(Bundle.open(engines), "cpu", threads=1)


def random_images(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, *IMAGE), np.uint8)


def dlpack(driver: WatchedDriver, values: NDArray[Any], stream: Stream = LEGACY, **options: int) -> Any:
    return put(driver, values, KINDS[values.dtype], stream, **options)


def interface(driver: WatchedDriver, values: NDArray[Any], stream: Stream = LEGACY) -> Any:
    return put_interface(driver, values, stream)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [dlpack, interface])
@pytest.mark.parametrize("stream", [LEGACY, SIDE])
def test_encoding_and_decoding(
    engines: Path, machines: Machines, cpu: Sampler, device: str, make: Any, stream: Stream, seed: int
) -> None:
    driver = machines(seed=seed)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(3)
    expected = cpu.encode(images)
    codes = sampler.encode_on_gpu(make(driver, images, LEGACY), stream.handle)
    decoded = sampler.decode_on_gpu(codes, stream.handle)
    assert decoded.shape == images.shape
    assert decoded.dtype == "uint8"
    assert driver.events.count("wait") == 0
    for name, values in expected.items():
        np.testing.assert_array_equal(codes[name].numpy(), values, name)
    check_images(decoded.numpy(), cpu.decode(expected))


def test_codes_that_are_not_drawn(engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    driver = machines(seed=3)
    sampler = Sampler(Bundle.open(engines), device)
    codes = cpu.encode(random_images(3))
    codes["top"][1] = codes["bottom"][1] = codes["bottom"][2, 5:] = -1
    expected = cpu.decode(codes)
    assert not np.array_equal(expected[1], expected[2])
    check_images(sampler.decode(codes), expected)
    on_gpu = {name: dlpack(driver, values) for name, values in codes.items()}
    check_images(sampler.decode_on_gpu(on_gpu).numpy(), expected)


@pytest.mark.parametrize("n", [1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 5])
def test_any_number_of_images(engines: Path, machines: Machines, cpu: Sampler, device: str, n: int) -> None:
    driver = machines(seed=n)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(n)
    expected = cpu.encode(images)
    for _ in range(2):
        encoded = sampler.encode_on_gpu(dlpack(driver, images))
        codes = {name: dlpack(driver, values) for name, values in expected.items()}
        decoded = sampler.decode_on_gpu(codes)
        assert driver.events.count("wait") == 0
        for name, values in expected.items():
            np.testing.assert_array_equal(encoded[name].numpy(), values, name)
        check_images(decoded.numpy(), cpu.decode(expected))
        driver.events.clear()


def test_calls_with_different_numbers_of_images(engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    driver = machines(seed=1)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(5)
    expected = cpu.encode(images)
    results = [sampler.encode_on_gpu(dlpack(driver, images[:n])) for n in (2, 5, 3)]
    host = sampler.encode(images)
    results.append(sampler.encode_on_gpu(dlpack(driver, images[:1])))
    for name, values in expected.items():
        np.testing.assert_array_equal(host[name], values)
        for n, codes in zip((2, 5, 3, 1), results, strict=True):
            np.testing.assert_array_equal(codes[name].numpy(), values[:n], name)


@pytest.mark.parametrize("offset", [1, 16, 128])
def test_memory_that_is_not_aligned(engines: Path, machines: Machines, cpu: Sampler, device: str, offset: int) -> None:
    driver = machines(seed=2)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(3)
    expected = cpu.encode(images)
    encoded = sampler.encode_on_gpu(dlpack(driver, images, offset=offset))
    codes = {"top": dlpack(driver, expected["top"], offset=offset // 8 * 8), "bottom": encoded["bottom"]}
    check_images(sampler.decode_on_gpu(codes).numpy(), cpu.decode(expected))
    np.testing.assert_array_equal(encoded["top"].numpy(), expected["top"])


def test_the_work_is_ordered_with_the_callers_stream(
    engines: Path, machines: Machines, cpu: Sampler, device: str
) -> None:
    driver = machines(seed=3)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(2)
    array = dlpack(driver, images, SIDE)
    pointer = int(array.tensor.data_ptr())
    codes = sampler.encode_on_gpu(array, SIDE.handle)
    with driver.use(0):
        driver.zero(pointer, images.nbytes, SIDE)  # the caller's next work on the stream must wait for the encoder
    assert adopt(codes["bottom"], SIDE.handle).shape == (2, 8, 12)
    for name, values in cpu.encode(images).items():
        np.testing.assert_array_equal(codes[name].numpy(), values, name)


def test_results_outlive_the_sampler(engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    driver = machines(seed=4)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(2)
    expected = cpu.encode(images)
    codes = sampler.encode_on_gpu(dlpack(driver, images), SIDE.handle)
    decoded = sampler.decode_on_gpu({name: dlpack(driver, values) for name, values in expected.items()})
    del sampler
    adopted = {name: adopt(array, SIDE.handle) for name, array in codes.items()}
    pointers = {name: array.pointer for name, array in codes.items()}
    driver.finish()
    for name, values in expected.items():
        np.testing.assert_array_equal(adopted[name], values, name)
        assert adopted[name].ctypes.data == pointers[name]  # not a copy
    del codes
    driver.finish()
    for name, values in expected.items():
        np.testing.assert_array_equal(adopted[name], values, name)
    check_images(decoded.numpy(), cpu.decode(expected))
    del adopted, decoded
    driver.finish()
    assert driver.live() == 0


def test_arrays_that_do_not_fit(engines: Path, machines: Machines, device: str) -> None:
    driver = machines(devices=2)
    sampler = Sampler(Bundle.open(engines), device)
    images = random_images(2)
    top, bottom = np.zeros((2, 4, 6), np.int64), np.zeros((2, 8, 12), np.int64)

    def encode(array: Any, stream: Any = None) -> Callable[[], object]:
        return lambda: sampler.encode_on_gpu(array, stream)

    def decode(**codes: Any) -> Callable[[], object]:
        return lambda: sampler.decode_on_gpu(codes)

    on_gpu = {"top": dlpack(driver, top), "bottom": dlpack(driver, bottom)}
    cases = [
        (encode(images), "images is in host memory, expected CUDA device memory"),
        (encode(torch.from_numpy(images)), "images is in host memory, expected CUDA device memory: move it to the GPU"),
        (encode(images.tolist()), "images is builtins.list, expected a GPU array"),
        (encode(interface(driver, images.astype(np.float32))), "images is of type '<f4'.* expected uint8"),
        (encode(dlpack(driver, images[0])), r"images has shape \[32, 48, 3\], expected \['N', 32, 48, 3\]"),
        (encode(dlpack(driver, images[:, :31].copy())), r"images has shape \[2, 31, 48, 3\], expected"),
        (encode(InterfaceArray((0, *IMAGE), "|u1", 0)), r"images has shape \[0, 32, 48, 3\], expected .* N from 1"),
        (encode(InterfaceArray((2, *IMAGE), "|u1", 0x40)), "is not memory of a GPU"),
        (encode(dlpack(driver, images, device=1)), "images is on GPU 1, the sampler on GPU 0"),
        (encode(dlpack(driver, images), "0"), "stream is str, expected None, a handle"),
        (encode(dlpack(driver, images), -1), "stream is -1, expected a handle"),
        (decode(), "codes must map each of the levels bottom, top to a GPU array"),
        (decode(top=on_gpu["top"]), "codes must map each of the levels bottom, top"),
        (decode(**on_gpu, middle=on_gpu["top"]), "codes must map each of the levels bottom, top"),
        (lambda: sampler.decode_on_gpu(on_gpu["top"]), "codes must map each of the levels bottom, top"),
        (
            decode(top=on_gpu["top"], bottom=on_gpu["top"]),
            r"codes\['bottom'\] has shape \[2, 4, 6\], expected \['N', 8, 12\]",
        ),
        (
            decode(top=on_gpu["top"], bottom=dlpack(driver, bottom[:1])),
            "codes are of 1 and 2 images, expected the same",
        ),
        (
            decode(top=interface(driver, top.astype(np.int32)), bottom=on_gpu["bottom"]),
            r"codes\['top'\] is of type '<i4'.* expected int64",
        ),
        (decode(top=top, bottom=on_gpu["bottom"]), r"codes\['top'\] is "),
    ]
    for call, text in cases:
        with pytest.raises(InputError, match=text):
            call()
    assert sampler.encode_on_gpu(dlpack(driver, images))["top"].shape == (2, 4, 6)


def test_a_sampler_on_the_cpu_does_not_accept_gpu_arrays(cpu: Sampler) -> None:
    text = "this sampler runs on cpu: arrays on a GPU need one of cuda, tensorrt, onnxruntime-tensorrt"
    with pytest.raises(InputError, match=text):
        cpu.encode_on_gpu(random_images(1))
    with pytest.raises(InputError, match=text):
        cpu.decode_on_gpu({})
