"""Arrays and streams of other libraries, and invalid arguments of the launcher, on a fake GPU without kernels."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_gpu.driver import FakeDriver, FakeGpuError
from gpu_arrays import InterfaceArray, adopt, put, put_interface
from nearest_grid import compile_native, compiler, narrow

from latentloop.kernels.driver import DeviceMemory, MissingGpuError, Stream, as_stream, dlpack, open_driver
from latentloop.kernels.driver.fatbin import read_fatbin
from latentloop.kernels.nearest_codebook import launcher
from latentloop.kernels.nearest_codebook.on_gpu import GpuCodebook, nearest_on_gpu
from latentloop.kernels.nearest_codebook.shapes import MAX_CODEWORDS, MAX_DIMENSIONS

SIDE = Stream(0x1000)
OTHER = Stream(0x2000)


@pytest.fixture
def fake() -> FakeDriver:
    return FakeDriver(None)


def test_arrays_that_do_not_fit(fake: FakeDriver) -> None:
    def array(*shape: int, typestr: str = "<f4", **others: Any) -> InterfaceArray:
        values = np.zeros(shape, np.float32)
        return InterfaceArray(shape, typestr, fake.put(values), extra_fields=others)

    z, words = array(6, 4), array(5, 4)
    wrong: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (
            ValueError,
            r"z has shape \[6, 4\], expected \[..., 3\] for a codebook \[5, 3\]",
            lambda: search(z, array(5, 3)),
        ),
        (
            ValueError,
            r"z has shape \[6, 4\], expected \[B, 3, ...\] for a codebook \[5, 3\]",
            lambda: search(z, array(5, 3), layout="channels_first"),
        ),
        (ValueError, r"codebook has shape \[5, 4, 1\], expected \[K, D\]", lambda: search(z, array(5, 4, 1))),
        (ValueError, r"codebook has shape \[0, 4\], expected \[K, D\] with K from 1", lambda: search(z, array(0, 4))),
        (ValueError, r"D from 1 to 512", lambda: search(z, array(2, 513))),
        (ValueError, r"K from 1 to 65536", lambda: search(z, array(65537, 1))),
        (TypeError, r"z is float16, the codebook float32", lambda: search(array(6, 4, typestr="<f2"), words)),
        (TypeError, r"z is of type '<f8' \(bfloat16 needs DLPack", lambda: search(array(6, 4, typestr="<f8"), words)),
        (
            ValueError,
            r"z of shape \[6, 4\] has strides \[4, 24\] in bytes, expected row-major order: call .contiguous",
            lambda: search(array(6, 4, strides=(4, 24)), words),
        ),
        (ValueError, r"z is masked", lambda: search(array(6, 4, mask=array(6, 4)), words)),
        (ValueError, r"z names stream 0, which is ambiguous", lambda: search(array(6, 4, stream=0), words, stream=1)),
        (
            ValueError,
            r"z has shape \[6, 4\] and a null pointer",
            lambda: search(InterfaceArray((6, 4), "<f4", 0), words),
        ),
        (ValueError, r"is not memory of a GPU", lambda: search(InterfaceArray((6, 4), "<f4", 0x40), words)),
        (TypeError, r"z is builtins.list, expected a GPU array", lambda: search([[0.0] * 4] * 6, words)),
        (ValueError, r"z is in host memory, expected CUDA device memory", lambda: search(torch.zeros(6, 4), words)),
        (ValueError, r"layout is 'columns', expected", lambda: search(z, words, layout="columns")),
        (TypeError, r"stream is str, expected None, a handle", lambda: search(z, words, stream="0")),
        (
            ValueError,
            r"driver is 'cuda', expected 'cuda-python' or 'pycuda'",
            lambda: nearest_on_gpu(z, words, driver="cuda"),
        ),
        (
            ValueError,
            r"but the codebook was prepared with fake",
            lambda: nearest_on_gpu(z, GpuCodebook(words, driver=fake), driver=FakeDriver(fake.kernels)),
        ),
    ]

    def search(*arrays: Any, **options: Any) -> object:
        return nearest_on_gpu(*arrays, driver=fake, **options)

    for error, text, call in wrong:
        with pytest.raises(error, match=text):
            call()


def test_a_capsule_can_be_used_once() -> None:
    capsule = torch.zeros(3).__dlpack__()
    assert dlpack.read(capsule).shape == (3,)
    with pytest.raises(TypeError, match="expected an unused DLPack capsule"):
        dlpack.read(capsule)


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (None, 1),
        (0, 1),
        (np.int64(5), 5),
        (SimpleNamespace(cuda_stream=7), 7),
        (SimpleNamespace(ptr=0), 1),
        (SimpleNamespace(handle=ctypes.c_void_p(9)), 9),
        (SimpleNamespace(handle=ctypes.c_void_p(None)), 1),
        (SimpleNamespace(__cuda_stream__=lambda: (0, 11)), 11),
    ],
)
def test_streams_of_every_library(stream: Any, handle: int) -> None:
    assert as_stream(stream).handle == handle


def test_errors_name_missing_packages_and_files(
    monkeypatch: pytest.MonkeyPatch, fake: FakeDriver, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    open_driver.cache_clear()
    with pytest.raises(MissingGpuError) as caught:
        open_driver()
    message = str(caught.value)
    assert message.startswith("no installed package can drive a GPU. cuda-python: import of cuda.bindings.driver")
    assert "(pip install cuda-python); pycuda: import of pycuda.driver" in message
    with pytest.raises(MissingGpuError, match="only if it finds nvcc and CMake"):
        read_fatbin(tmp_path / "none.fatbin")
    monkeypatch.setattr(launcher, "load", lambda: None)
    with pytest.raises(MissingGpuError, match="the operator library was not built"):
        nearest_on_gpu(*[put_interface(fake, np.zeros((2, 2), np.float32)) for _ in "zk"], driver=fake)


@pytest.mark.parametrize(
    ("stream", "handle"), [(None, 0x2000), (0x1000, 0x1000), (SIDE, 0x1000), (0, 1), (1, 1), (2, 2)]
)
def test_the_stream_of_the_work(stream: Any, handle: int, fake: FakeDriver) -> None:
    z, codebook = np.ones((5, 2), np.float32), np.ones((3, 2), np.float32)
    words = put(fake, codebook, "f32")
    result = nearest_on_gpu(put_interface(fake, z, OTHER), words, stream=stream, driver=fake)
    assert result.index.__cuda_array_interface__["stream"] == handle
    assert words.requested_streams == [handle]  # the producer makes this stream wait
    if stream is None:
        result = nearest_on_gpu(put_interface(fake, z, names_stream=False), words, driver=fake)
        assert result.index.__cuda_array_interface__["stream"] == 1


def test_other_libraries_can_adopt_the_results(fake: FakeDriver) -> None:
    z, codebook = (narrow(np.ones((rows, 4)), "bf16") for rows in (12, 5))
    result = nearest_on_gpu(
        put(fake, z, "bf16"), put(fake, codebook, "bf16"), distance=True, codeword=True, driver=fake
    )
    assert result.distance is not None
    assert result.codeword is not None
    fake.finish()
    for array in (result.index, result.distance, result.codeword):
        np.testing.assert_array_equal(adopt(array), array.numpy())
        assert array.__dlpack_device__() == (2, 0)
    interface = result.index.__cuda_array_interface__
    assert interface.pop("data") == (result.index.pointer, False)
    assert interface == {"shape": (12,), "typestr": "<i8", "strides": None, "version": 3, "stream": 1}
    assert not hasattr(result.codeword, "__cuda_array_interface__")  # the interface has no bfloat16
    with pytest.raises(BufferError, match="copy"):
        result.index.__dlpack__(copy=True)
    with pytest.raises(BufferError, match=r"\(1, 0\) was requested, the array is on cuda:0"):
        result.index.__dlpack__(dl_device=(1, 0))
    with pytest.raises(ValueError, match="stream 0"):
        result.index.__dlpack__(stream=0)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_norms_outlive_searches_on_other_streams(
    is_recorded: bool, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []  # errors in finalisers are not propagated
    monkeypatch.setattr(sys, "unraisablehook", lambda error: raised.append(error.exc_value))
    if not is_recorded:
        monkeypatch.setattr(DeviceMemory, "record_stream", lambda *_: None)
    z = put_interface(fake, np.ones((5, 2), np.float32), OTHER)
    prepared = GpuCodebook(put_interface(fake, np.ones((3, 2), np.float32)), stream=SIDE, driver=fake)
    nearest_on_gpu(z, prepared)
    del prepared
    gc.collect()
    if is_recorded:
        assert not raised
        assert fake.live() == 0
    else:
        assert [type(error) for error in raised] == [FakeGpuError]
        assert "free: the allocation: a race with nearest_resolve_f32" in str(raised[0])


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_arguments_and_plan_equal_the_headers(tmp_path: Path) -> None:
    """The compiler prints the offsets and sizes of all fields, and the constants."""
    structs = {"Arguments": launcher.Arguments, "Plan": launcher.Plan}
    lines = []
    for name, struct in structs.items():
        for field, *_ in struct._fields_:
            layout = f"offsetof({name}, {field}), sizeof({name}::{field})"
            lines.append(f'std::printf("{name}.{field} %zu %zu\\n", {layout});')
        lines.append(f'std::printf("{name} %zu 0\\n", sizeof({name}));')
    constants = {
        "kMostDimensions": MAX_DIMENSIONS,
        "kMostCodewords": MAX_CODEWORDS,
        "kMostVectors": launcher.MAX_VECTORS,
        "kThreads": launcher.THREADS,
    }
    lines += [f'std::printf("{name} %lld 0\\n", static_cast<long long>({name}));' for name in constants]
    source = tmp_path / "layout.cpp"
    source.write_text(
        '#include <cstddef>\n#include <cstdio>\n#include "nearest_codebook/cuda/plan.h"\n'
        "using namespace latentloop::nearest;\nint main() {\n" + "\n".join(lines) + "\n}\n"
    )
    program = compile_native([source], tmp_path / "layout", ["-Wno-invalid-offsetof"])
    lines = subprocess.check_output([program], text=True).splitlines()
    printed = {line.split()[0]: tuple(map(int, line.split()[1:])) for line in lines}
    for name, struct in structs.items():
        for field, *_ in struct._fields_:
            descriptor = getattr(struct, field)
            assert printed[f"{name}.{field}"] == (descriptor.offset, descriptor.size), f"{name}.{field}"
        assert printed[name][0] == ctypes.sizeof(struct)
    for name, value in constants.items():
        assert printed[name][0] == value, name
