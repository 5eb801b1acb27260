"""Failures of the driver, and damaged engines. ``test_embedded_engines.py`` runs these tests in another process, in
which libcuda.so.1 is the simulated one; fixtures are in ``embedded_engine_samplers.py``.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from ctypes import c_size_t, c_uint64
from pathlib import Path

import numpy as np
import pytest
from corrupted_bundles import replace_file, scale_weight
from embedded import EmbeddedBundle, EmbeddedError, EmbeddedSampler, Library
from embedded_engine_samplers import LEGACY, check_same
from embedded_gpu import FakeGpu, decode, encode, sample, set_stream
from gpu_machines import with_engines

from latentloop import Bundle

FUNCTIONS = (  # of the driver that the library calls
    *("cuDeviceGetCount", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxGetCurrent", "cuCtxPushCurrent"),
    *("cuMemAllocAsync", "cuMemHostAlloc", "cuMemsetD8Async", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"),
    *("cuMemcpyDtoDAsync", "cuStreamCreate", "cuEventCreate", "cuEventRecord", "cuEventSynchronize"),
    *("cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch"),
)


def everything(bundle: EmbeddedBundle) -> None:
    with bundle.sampler(device="tensorrt") as sampler:
        images, codes = sampler.sample(2, batch=1)
        sampler.encode(images)
        sampler.log_likelihood({name: values[:1] for name, values in codes.items()}, np.zeros(1, np.int64))


def failure(bundle: EmbeddedBundle) -> EmbeddedError | None:
    try:
        everything(bundle)
    except EmbeddedError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_failure_of_the_driver(bundle: EmbeddedBundle, gpu: FakeGpu, function: str) -> None:
    """Calls of a function fail in turn: the status says so, and nothing is leaked. Failures of the end are ignored."""
    everything(bundle)
    calls = gpu.calls(function)
    assert calls, function
    status = 2 if "Alloc" in function else 999
    raised = 0
    for call in sorted({*range(1, min(calls, 5)), *np.linspace(1, calls, 6).astype(int).tolist()}):
        gpu.fail(function, call, status)
        error = failure(bundle)
        if error is not None:
            raised += 1
            assert f"{function.removesuffix('WithFlags')}: " in str(error), (call, error)
            assert error.status == ("out of memory" if status == 2 else "device not usable"), error
        gpu.fail(function, 10**9, status)
        assert gpu.violation() == ""
        assert gpu.live() == gpu.before, (function, call)
    assert raised


def test_a_sampler_works_again_after_a_failure(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    expected = cpu.sample(3, batch=2)
    calls = [("cuGraphLaunch", 5), ("cuMemAllocAsync", 5), ("cuStreamEndCapture", 5), ("cuMemcpyDtoHAsync", 5)]
    calls += [("cuMemcpyDtoDAsync", call) for call in range(1, 24, 2)]  # before, in and after first runs and captures
    for function, call in calls:
        with bundle.sampler(device="tensorrt") as sampler:
            gpu.fail(function, call, 2)
            with pytest.raises(EmbeddedError, match=rf"^out of memory: GPU 0: {function}: CUDA_ERROR_OUT_OF_MEMORY$"):
                sampler.sample(3, batch=2)
            gpu.fail(function, 10**9, 2)
            check_same(sampler.sample(3, batch=2), expected)  # with the same loops, if they were kept


@pytest.mark.parametrize(
    ("graph", "weight", "text"),
    [
        ("top.step", "top.logits_bias", "top has logits that are not finite numbers"),
        ("bottom.step", "bottom.logits_bias", "bottom has logits that are not finite numbers"),
        ("decoder", "vqvae.decoder.conv.bias", "decoder.plan: pixels that are not finite: the weights are damaged"),
    ],
)
def test_results_that_are_not_finite(
    library: Library, gpu: FakeGpu, tmp_path: Path, graph: str, weight: str, text: str
) -> None:
    damaged = shutil.copytree(Bundle.default().path, tmp_path / "damaged")
    scale_weight(damaged, f"{graph}.onnx", weight, np.nan)
    opened = library.open(with_engines(damaged, tmp_path / "engines", version="10.14.1.48"))
    with opened.sampler(device="tensorrt") as sampler:
        for _ in range(2):
            with pytest.raises(EmbeddedError, match=text):
                sampler.sample(1)
            assert sampler.finished == 0
    opened.close()


def test_a_plan_with_other_bindings(library: Library, gpu: FakeGpu, tmp_path: Path) -> None:
    copied = shutil.copytree(os.environ["LATENTLOOP_TEST_BUNDLE"], tmp_path / "copied")
    for engines in (copied / "engines").glob("*_float32"):
        replace_file(engines, "top.step.plan", (engines / "top.row.plan").read_bytes())
    opened = library.open(copied)
    with (
        opened.sampler(device="tensorrt") as sampler,
        pytest.raises(EmbeddedError, match=r"top\.step\.plan: inputs and outputs of plan and manifest differ: "),
    ):
        sampler.sample(1)
    opened.close()


def test_an_event_that_cannot_be_made_for_good(bundle: EmbeddedBundle, gpu: FakeGpu) -> None:
    """Nothing is freed during its use, although no more memory can be had."""
    with bundle.sampler(device="tensorrt") as sampler:
        sampler.sample(1)
        for function in ("cuEventCreate", "cuEventRecord"):
            gpu.fail(function, 0, 2)
            with pytest.raises(EmbeddedError, match="out of memory"):
                sampler.sample(2)
            gpu.fail(function, 10**9, 2)
        gpu.fail("cuEventCreate", 0, 2)
    assert gpu.violation() == ""


@pytest.mark.parametrize("function", ["cuEventCreate", "cuEventRecord", "cuStreamWaitEvent"])
def test_after_a_failure_nothing_uses_the_callers_arrays(
    sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu, function: str
) -> None:
    images, codes = cpu.sample(2)
    sampler.decode(codes)
    with gpu.primary(), gpu.stream() as stream:
        set_stream(sampler, stream)
        put = {name: gpu.put(values, stream) for name, values in codes.items()}
        target = gpu.put(np.zeros_like(images), stream)
        for call in range(1, 4):
            for use in (
                lambda: decode(sampler, put, 2, target, images.nbytes),
                lambda: encode(sampler, target, images.nbytes, 2, put),
                lambda: sample(sampler, 2, target, images.nbytes, put),
            ):
                gpu.fail(function, call, 2)
                with suppress(EmbeddedError):  # not every call is made
                    use()
                gpu.fail(function, 10**9, 2)
                for pointer, size in ((target, images.nbytes), *((put[name], codes[name].nbytes) for name in put)):
                    gpu.call("cuMemsetD8Async", c_uint64(pointer), 0, c_size_t(size), stream)
        gpu.free()
        set_stream(sampler, LEGACY)


def test_an_address_that_the_driver_cannot_tell(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    codes = cpu.sample(1)[1]
    gpu.fail("cuPointerGetAttribute", 0, 700)
    with pytest.raises(EmbeddedError, match="GPU 0: cuPointerGetAttribute: CUDA_ERROR_ILLEGAL_ADDRESS"):
        sampler.decode(codes)


def test_memory_that_tensorrt_lacks(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    with bundle.sampler(device="tensorrt") as sampler:
        for call in (1, 3, 6):
            gpu.fail("cudaMalloc", call, 2)
            with pytest.raises(EmbeddedError, match=r"TensorRT cannot load it: .*out of memory") as error:
                sampler.sample(1)
            assert error.value.status == "out of memory"
            assert "build-engines" not in error.value.text
        gpu.fail("cudaMalloc", 10**9, 2)
        check_same(sampler.sample(1), cpu.sample(1))


def test_a_set_that_is_deleted_while_a_sampler_has_it(
    library: Library, bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu, tmp_path: Path
) -> None:
    shutil.copytree(os.environ["LATENTLOOP_TEST_BUNDLE"], tmp_path / "copy")
    with library.open(tmp_path / "copy").sampler(device="tensorrt") as sampler:
        shutil.rmtree(tmp_path / "copy" / "engines")
        check_same(sampler.sample(2), cpu.sample(2))


def test_a_damaged_set_is_a_bad_bundle(library: Library, gpu: FakeGpu, tmp_path: Path) -> None:
    shutil.copytree(os.environ["LATENTLOOP_TEST_BUNDLE"], tmp_path / "copy")
    for plan in (tmp_path / "copy" / "engines").glob("*_float32/decoder.plan"):
        plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(EmbeddedError, match=r"decoder.plan has \d+ bytes") as error:
        library.open(tmp_path / "copy").sampler(device="tensorrt")
    assert error.value.status == "bad bundle"
