"""Streams, contexts and arrays on the GPU. ``test_embedded_engines.py`` runs these tests in another process, in
which libcuda.so.1 is the simulated one; fixtures are in ``embedded_engine_samplers.py``.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from ctypes import byref, c_uint64, c_void_p
from typing import Any

import embedded_gpu
import numpy as np
import pytest
from embedded import EmbeddedBundle, EmbeddedError, EmbeddedSampler
from embedded_engine_samplers import LABELS, LEGACY, SEEDS, check_same
from embedded_gpu import GLOBAL, FakeGpu


@pytest.mark.parametrize("offset", [0, 8])  # bytes; addresses are then not aligned
def test_arrays_on_the_gpu(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu, offset: int) -> None:
    images, codes = cpu.sample(3, seeds=SEEDS, labels=LABELS)
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        waits = gpu.calls("cuEventSynchronize")
        expected = sampler.encode(images)  # the graphs are loaded, and have run
        sampler.encode(images[::-1].copy())  # the graphs' own memory has other values than below
        sampler.decode({name: values[::-1].copy() for name, values in codes.items()})
        loaded = gpu.calls("cuEventSynchronize")
        assert loaded > waits
        put = {name: gpu.put(values, stream, offset) for name, values in codes.items()}
        decoded, encoded = gpu.allocate(images.nbytes + offset) + offset, gpu.put(images, stream, offset)
        outputs = {name: gpu.allocate(values.nbytes + offset) + offset for name, values in codes.items()}
        embedded_gpu.decode(sampler, put, 3, decoded, images.nbytes)
        embedded_gpu.encode(sampler, encoded, images.nbytes, 3, outputs)
        assert gpu.calls("cuEventSynchronize") == loaded  # nothing has waited
        assert np.abs(gpu.get(decoded, images, stream).astype(int) - images).max() <= 1
        for name, values in expected.items():
            assert np.array_equal(gpu.get(outputs[name], values, stream), values)
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


def test_any_number_of_arrays_on_the_gpu_without_a_wait(
    sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu
) -> None:
    images, codes = cpu.sample(5, batch=1)
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        put = {name: gpu.put(values, stream) for name, values in codes.items()}
        decoded, only_top = gpu.allocate(images.nbytes), {"top": gpu.allocate(codes["top"].nbytes)}
        names = ("cuEventSynchronize", "cuStreamSynchronize", "cuMemAllocAsync", "cudaMalloc")
        for repetition in range(3):
            before = [gpu.calls(name) for name in names]
            embedded_gpu.decode(sampler, put, 5, decoded, images.nbytes)  # in runs of 4 and 1
            embedded_gpu.encode(sampler, decoded, images.nbytes, 5, only_top)
            assert repetition == 0 or [gpu.calls(name) for name in names] == before
        assert np.abs(gpu.get(decoded, images, stream).astype(int) - images).max() <= 1
        expected = cpu.encode(gpu.get(decoded, images, stream))["top"]
        assert np.mean(gpu.get(only_top["top"], expected, stream) == expected) > 0.9
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


def test_page_locked_memory_is_used_again(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    codes = cpu.sample(4)[1]
    sampler.decode(codes)
    made = gpu.calls("cuMemHostAlloc")
    for n in (3, 4, 3, 1, 2, 4):
        sampler.decode({name: values[:n] for name, values in codes.items()})
    assert gpu.calls("cuMemHostAlloc") - made <= 8  # of smaller sizes


def test_a_stream_that_is_being_captured(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    images, codes = cpu.sample(1)
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        put = {name: gpu.put(values, stream) for name, values in codes.items()}
        target, graph = gpu.allocate(images.nbytes), c_void_p()
        gpu.call("cuStreamBeginCapture_v2", stream, GLOBAL)
        with pytest.raises(EmbeddedError, match=r"^invalid argument: the stream is being captured"):
            embedded_gpu.decode(sampler, put, 1, target, images.nbytes)
        check_same(sampler.sample(1), (images, codes))  # into memory of the host, which needs no stream
        gpu.call("cuStreamEndCapture", stream, byref(graph))
        gpu.call("cuGraphDestroy", graph)
        embedded_gpu.decode(sampler, put, 1, target, images.nbytes)
        assert np.abs(gpu.get(target, images, stream).astype(int) - images).max() <= 1
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_samples_into_memory_of_the_gpu(
    sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu, batch: int
) -> None:
    images, codes = cpu.sample(3, seeds=SEEDS, labels=LABELS, batch=batch)
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        # The program still writes to the memory when the call is made.
        target = gpu.put(np.zeros_like(images), stream)
        targets = {name: gpu.put(np.zeros_like(values), stream) for name, values in codes.items()}
        arguments: dict[str, Any] = {"seeds": SEEDS, "labels": LABELS, "batch": batch}
        assert embedded_gpu.sample(sampler, 3, target, images.nbytes, targets, **arguments) == 3
        actual = gpu.get(target, images, stream), {n: gpu.get(targets[n], codes[n], stream) for n in codes}
        check_same(actual, (images, codes))
        kept = {name: values.copy() for name, values in codes.items()}
        kept["top"][:, 4:] = -1
        kept["bottom"][:] = -1
        expected = cpu.sample(3, given=kept, **arguments)
        pointers = embedded_gpu.on_gpu(sampler, {name: gpu.put(values, stream) for name, values in kept.items()})
        assert embedded_gpu.sample(sampler, 3, target, images.nbytes, targets, given=pointers, **arguments) == 3
        actual = gpu.get(target, images, stream), {n: gpu.get(targets[n], codes[n], stream) for n in codes}
        check_same(actual, expected)
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


def test_a_default_stream_is_ordered_too(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    images, codes = cpu.sample(1)
    with gpu.primary():
        put = {name: gpu.put(values, LEGACY) for name, values in codes.items()}
        decoded = gpu.allocate(images.nbytes)
        embedded_gpu.decode(sampler, put, 1, decoded, images.nbytes)
        assert np.abs(gpu.get(decoded, images, LEGACY).astype(int) - images).max() <= 1
        gpu.free()


def test_the_callers_context_is_respected(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    images, codes = cpu.sample(1)
    contexts: list[int | None] = []

    def report(progress: Any) -> int:
        contexts.append(gpu.current())
        return 0

    with gpu.context() as context, ExitStack() as stack:
        retained = gpu.calls("cuDevicePrimaryCtxRetain")
        sampler = stack.enter_context(bundle.sampler(device="tensorrt"))
        check_same(sampler.sample(1, progress=report), (images, codes))
        assert gpu.current() == context.value
        assert gpu.calls("cuDevicePrimaryCtxRetain") == retained
        ours = {name: gpu.put(values, LEGACY) for name, values in codes.items()}
        target = gpu.allocate(images.nbytes)
        with gpu.context() as other:  # arrays of the host do not depend on it
            check_same(sampler.sample(1, progress=report), (images, codes))
            with pytest.raises(EmbeddedError, match="created in another CUDA context of GPU 0: make that context"):
                embedded_gpu.decode(sampler, ours, 1, target, images.nbytes)
            theirs = {name: gpu.put(values, LEGACY) for name, values in codes.items()}
            with pytest.raises(EmbeddedError, match="an array is in memory of another CUDA context of GPU 0"):
                embedded_gpu.decode(sampler, theirs, 1, target, images.nbytes)
            with gpu.stream() as stream, pytest.raises(EmbeddedError, match="belongs to another CUDA context"):
                embedded_gpu.set_stream(sampler, stream)
            gpu.call("cuCtxSynchronize")
            for pointer in theirs.values():
                gpu.allocated.remove(pointer)
                gpu.call("cuMemFree_v2", c_uint64(pointer))
        gpu.call("cuCtxSynchronize")
        gpu.free()
        assert set(contexts) == {context.value, other.value}


def test_without_a_context_the_primary_one_is_used_and_released(bundle: EmbeddedBundle, gpu: FakeGpu) -> None:
    assert gpu.current() is None
    with bundle.sampler(device="tensorrt:0") as sampler:
        sampler.sample(1)
        assert gpu.current() is None
        assert gpu.live()["primary"] == gpu.before["primary"] + 1


def test_engines_of_two_contexts(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    with ExitStack() as stack:
        samplers = [stack.enter_context(bundle.sampler(device="tensorrt"))]
        stack.enter_context(gpu.context())
        samplers.append(stack.enter_context(bundle.sampler(device="tensorrt")))
        for sampler in samplers:
            check_same(sampler.sample(1), cpu.sample(1))


def test_runs_of_other_sizes_and_the_end_follow_at_once(
    bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu
) -> None:
    """Of arrays on the GPU the program has not waited for anything."""
    images, codes = cpu.sample(3, seeds=SEEDS, labels=LABELS)
    with bundle.sampler(device="tensorrt") as sampler:
        expected = sampler.encode(images)
    with gpu.primary(), gpu.stream() as stream:
        put, source = {name: gpu.put(values, stream) for name, values in codes.items()}, gpu.put(images, stream)
        decoded = [(n, gpu.allocate(images.nbytes)) for n in (3, 2, 1)]
        encoded = [(n, {name: gpu.allocate(values.nbytes) for name, values in codes.items()}) for n in (3, 2, 1)]
        with bundle.sampler(device="tensorrt") as sampler:
            embedded_gpu.set_stream(sampler, stream)
            for n, target in decoded:
                embedded_gpu.decode(sampler, put, n, target, images[:n].nbytes)
            for n, targets in encoded:
                embedded_gpu.encode(sampler, source, images[:n].nbytes, n, targets)
        for n, target in decoded:
            assert np.abs(gpu.get(target, images[:n], stream).astype(int) - images[:n]).max() <= 1
        for n, targets in encoded:
            for name, values in expected.items():
                assert np.array_equal(gpu.get(targets[name], values[:n], stream), values[:n])
        gpu.free()


def test_the_best_samples_into_memory_of_the_gpu(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    arguments: dict[str, Any] = {"labels": [1, 1, 1], "batch": 2}
    best = cpu.sample_best(3, 3, **arguments)
    images, codes = best["images"], best["codes"]
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        target = gpu.put(np.zeros_like(images), stream)
        targets = {name: gpu.put(np.zeros_like(values), stream) for name, values in codes.items()}
        assert embedded_gpu.sample_best(sampler, 3, 3, target, images.nbytes, targets, **arguments) == 3
        actual = gpu.get(target, images, stream), {n: gpu.get(targets[n], codes[n], stream) for n in codes}
        check_same(actual, (images, codes))
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


def test_likelihood_and_classes_of_arrays_on_the_gpu(
    sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu
) -> None:
    images, codes = cpu.sample(3, seeds=SEEDS, labels=LABELS)
    labels = np.array(LABELS)
    with gpu.primary(), gpu.stream() as stream:
        embedded_gpu.set_stream(sampler, stream)
        put = {name: gpu.put(values, stream) for name, values in codes.items()}
        for name, nats in embedded_gpu.log_likelihood(sampler, put, labels).items():
            np.testing.assert_allclose(nats, cpu.log_likelihood(codes, labels)[name], atol=2e-4)
        assert np.array_equal(
            embedded_gpu.classify(sampler, gpu.put(images, stream), images.nbytes, 3), cpu.classify(images)
        )
        codes["bottom"][2, 1, 3] = 512
        put["bottom"] = gpu.put(codes["bottom"], stream)
        with pytest.raises(EmbeddedError, match="codes of bottom, sample 2: 512, expected 0 to 511"):
            embedded_gpu.log_likelihood(sampler, put, labels)
        gpu.free()
        embedded_gpu.set_stream(sampler, LEGACY)


def test_a_capture_of_the_program_goes_on(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    """While the program captures in the mode that refuses allocations of other threads, the sampler allocates."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(sampler.sample(1)))
    with gpu.primary(), gpu.stream() as stream:
        gpu.call("cuStreamBeginCapture_v2", stream, GLOBAL)
        thread.start()
        thread.join()
        graph = c_void_p()
        gpu.call("cuStreamEndCapture", stream, byref(graph))
        gpu.call("cuGraphDestroy", graph)
    check_same(results[0], cpu.sample(1))


def test_the_program_allocates_during_captures(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    expected = cpu.sample(4)
    has_begun, is_finished = threading.Event(), threading.Event()

    def allocate() -> None:
        with gpu.primary():
            while not is_finished.is_set():
                pointer = c_uint64()
                gpu.call("cuMemAlloc_v2", byref(pointer), 8)
                gpu.call("cuMemFree_v2", pointer)
                has_begun.set()

    thread = threading.Thread(target=allocate)
    thread.start()
    has_begun.wait()
    try:
        with bundle.sampler(device="tensorrt") as sampler:
            for batch in (1, 2, 3, 4) * 2:  # many captures
                check_same(sampler.sample(4, batch=batch), expected)
    finally:
        is_finished.set()
        thread.join()


def test_the_capture_mode_of_the_thread_is_restored(sampler: EmbeddedSampler, gpu: FakeGpu) -> None:
    sampler.sample(1)
    assert gpu.exchange_capture_mode(GLOBAL) == GLOBAL


def test_destroyed_while_it_runs(bundle: EmbeddedBundle, gpu: FakeGpu) -> None:
    sampler = bundle.sampler(device="tensorrt")

    def report(progress: Any) -> int:
        if sampler.handle and progress.row == 3:
            sampler.destroy()
        return 0

    with pytest.raises(EmbeddedError, match="cancelled"):
        sampler.sample(2, progress=report)
