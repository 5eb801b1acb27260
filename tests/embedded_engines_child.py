"""Engines in liblatentloop, on the simulated GPU. ``test_embedded_engines.py`` runs these tests in another process, in
which libcuda.so.1 is the simulated one; fixtures are in ``embedded_engine_samplers.py``.
"""

from __future__ import annotations

import os
import threading
from ctypes import c_void_p
from pathlib import Path
from typing import Any

import embedded_gpu
import numpy as np
import pytest
from embedded import EmbeddedBundle, EmbeddedError, EmbeddedSampler, Library
from embedded_engine_samplers import LABELS, LEGACY, SEEDS, check_same
from embedded_gpu import FakeGpu


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_samples_are_the_cpus(sampler: EmbeddedSampler, cpu: EmbeddedSampler, batch: int) -> None:
    arguments: dict[str, Any] = {"seeds": SEEDS, "labels": LABELS, "batch": batch}
    for _ in range(2):  # the second time all graphs are captured
        check_same(sampler.sample(3, **arguments), cpu.sample(3, **arguments))


def test_settings_and_batch_sizes_in_turn(sampler: EmbeddedSampler, cpu: EmbeddedSampler) -> None:
    codes = cpu.sample(3, seeds=[seed // 2 for seed in SEEDS], labels=LABELS)[1]  # not those that are drawn below
    kept = {name: values.copy() for name, values in codes.items()}
    kept["top"].reshape(3, -1)[:, 13:] = -1
    kept["bottom"][:] = -1
    for arguments in (
        {},
        {"top_k": {"top": 5, "bottom": 7}, "temperature": {"top": 0.7, "bottom": 1.3}},
        {"top_p": {"top": 0.5, "bottom": 1.0}, "batch": 2},
        {"min_p": {"top": 0.1, "bottom": 0.2}},
        {},
        {"given": kept, "batch": 3},
        {"given": {"top": codes["top"]}},
        {"given": {"bottom": codes["bottom"]}, "batch": 1},
        {"given": codes},
    ):
        changed: dict[str, Any] = {"seeds": SEEDS, "labels": LABELS, **arguments}
        check_same(sampler.sample(3, **changed), cpu.sample(3, **changed))


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_precisions(bundle: EmbeddedBundle, gpu: FakeGpu, precision: str) -> None:
    with bundle.sampler(precision, device="tensorrt") as sampler:
        images, codes = sampler.sample(2, seeds=SEEDS[:2], labels=LABELS[:2])
        assert np.array_equal(sampler.decode(codes), images)
    if precision == "int8":
        expected = bundle.sampler(precision, device="cpu").sample(2, seeds=SEEDS[:2], labels=LABELS[:2])[1]
        # The engines multiply in float32, and the operators of the CPU add integers: a few codes can differ.
        assert np.mean([np.mean(codes[name] == expected[name]) for name in codes]) > 0.9


def test_encoder_decoder_likelihood_and_classifier(sampler: EmbeddedSampler, cpu: EmbeddedSampler) -> None:
    images, codes = cpu.sample(5, seeds=range(5))
    sampler.encode(images[:1])  # more follow than this
    for name, values in sampler.encode(images).items():
        assert np.array_equal(values, cpu.encode(images)[name])
    assert np.abs(sampler.decode(codes).astype(int) - images).max() <= 1
    partial = {name: np.where(np.arange(values.shape[1])[:, None] < 3, values, -1) for name, values in codes.items()}
    half = cpu.decode(partial)
    assert np.abs(half.astype(int) - images).max() > 1
    assert np.abs(sampler.decode(partial).astype(int) - half).max() <= 1
    labels = np.arange(5)
    for name, nats in sampler.log_likelihood(codes, labels).items():
        np.testing.assert_allclose(nats, cpu.log_likelihood(codes, labels)[name], atol=2e-4)
    assert np.array_equal(sampler.classify(images), cpu.classify(images))
    for name, values in sampler.sample_best(2, 3).items():
        expected = cpu.sample_best(2, 3)[name]
        if name == "codes":
            assert all(np.array_equal(values[level], expected[level]) for level in values)
        elif name == "images":
            assert np.abs(values.astype(int) - expected).max() <= 1
        else:
            np.testing.assert_allclose(values, expected, atol=1e-3)


def test_progress_and_cancelling(sampler: EmbeddedSampler, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    seen: list[tuple[int, ...]] = []
    waits: list[int] = []

    def report(progress: Any) -> int:
        waits.append(gpu.calls("cuEventSynchronize"))
        seen.append((progress.image, progress.level, progress.row))
        return int(seen[-1] == (1, 1, 5))

    with pytest.raises(EmbeddedError, match=r"^cancelled: cancelled by the progress function$"):
        sampler.sample(3, seeds=SEEDS, labels=LABELS, batch=1, progress=report)
    rows = [(level, row) for level, rows in ((0, 8), (1, 16)) for row in range(1, rows + 1)]
    assert seen == [(0, *row) for row in rows] + [(1, *row) for row in rows[:13]]
    assert np.diff(waits).min() == 1  # for the row that is reported
    assert sampler.finished == 1
    expected = cpu.sample(3, seeds=SEEDS, labels=LABELS, batch=1)
    assert np.abs(sampler.images[0].astype(int) - expected[0][0]).max() <= 1
    check_same(sampler.sample(3, seeds=SEEDS, labels=LABELS, batch=1), expected)


def test_a_cancelled_run_ends_after_a_row(sampler: EmbeddedSampler) -> None:
    seen: list[int] = []

    def report(progress: Any) -> int:
        seen.append(progress.row)
        if progress.row == 3:
            sampler.cancel()
        return 0

    with pytest.raises(EmbeddedError, match=r"^cancelled: cancelled$"):
        sampler.sample(2, progress=report)
    assert seen == [1, 2, 3]


def test_cancelling_from_another_thread(sampler: EmbeddedSampler, cpu: EmbeddedSampler) -> None:
    begun = threading.Event()

    def report(progress: Any) -> int:
        begun.set()
        return 0

    def cancel() -> None:
        begun.wait()
        sampler.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(EmbeddedError, match=r"^cancelled: cancelled$"):
        sampler.sample(10_000, batch=4, progress=report)
    thread.join()
    check_same(sampler.sample(1), cpu.sample(1))


def test_the_host_waits_once_for_a_batch_and_graphs_are_captured_once(sampler: EmbeddedSampler, gpu: FakeGpu) -> None:
    sampler.sample(4, batch=2)
    rows = {"top": 8, "bottom": 16}
    captured = gpu.calls("cuGraphInstantiateWithFlags")
    assert sum(rows.values()) < captured < 2 * sum(rows.values())  # one per row, and one per phase of the steps
    before = {name: gpu.calls(name) for name in ("cuEventSynchronize", "cuGraphLaunch", "cuMemAllocAsync")}
    sampler.sample(6, batch=2)
    assert gpu.calls("cuGraphInstantiateWithFlags") == captured
    after = {name: gpu.calls(name) - before[name] for name in before}
    # Of each batch, for its codes and for its images.
    assert after == {
        "cuEventSynchronize": 3 * 2,
        "cuGraphLaunch": 3 * 2 * sum(rows.values()),
        "cuMemAllocAsync": 0,
    }
    assert gpu.calls("cuStreamSynchronize") == gpu.calls("cuCtxSynchronize") == gpu.calls("pageable copy") == 0


def test_a_batch_is_decoded_while_the_next_is_drawn(sampler: EmbeddedSampler, tmp_path: Path) -> None:
    sampler.sample(2, batch=1)
    log = tmp_path / "calls"
    os.environ["LATENTLOOP_TEST_CALLS"] = str(log)
    try:
        sampler.sample(2, batch=1)
    finally:
        del os.environ["LATENTLOOP_TEST_CALLS"]
    calls = log.read_text().split()
    waits = [index for index, name in enumerate(calls) if name == "cuEventSynchronize"]
    assert len(waits) == 4  # for the codes of both batches, then for the images of the first and of the second one
    assert "cuGraphLaunch" in calls[waits[0] : waits[1]]
    assert "cuGraphLaunch" not in calls[waits[1] :]


def test_samplers_share_engines(bundle: EmbeddedBundle, cpu: EmbeddedSampler, gpu: FakeGpu) -> None:
    samplers = [bundle.sampler(device="tensorrt") for _ in range(3)]
    expected = cpu.sample(2, batch=1)
    results: list[Any] = [None] * 3

    def draw(index: int) -> None:
        results[index] = [samplers[index].sample(2, batch=1) for _ in range(2)]

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in (result for pair in results for result in pair):
        check_same(result, expected)
    engines = gpu.live()["TensorRT's engines"]
    samplers.pop().destroy()
    assert gpu.live()["TensorRT's engines"] == engines == 7
    for sampler in samplers:
        sampler.destroy()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ({"device": "tensorrt:1"}, "missing", "device tensorrt:1: there are 1 GPUs, counted from 0"),
        ({"device": "tensorrt:x"}, "invalid argument", "device is 'tensorrt:x', expected auto, cpu or tensorrt"),
        ({"device": "tensorrt:1000"}, "invalid argument", "device is 'tensorrt:1000'"),
        ({"device": "cuda"}, "device not usable", "device is 'cuda', which only the Python package has"),
        (
            {"device": "tensorrt", "precision": "bfloat16"},
            "missing",
            "of the precision .*: latentloop build-engines",
        ),
        (
            {"device": "tensorrt", "precision": "int4"},
            "invalid argument",
            "precision is 'int4', expected one of float32",
        ),
        ({"precision": "bfloat16"}, "invalid argument", "expected one that the bundle has.*engines cannot be used: "),
    ],
)
def test_devices_that_cannot_be_used(
    bundle: EmbeddedBundle, gpu: FakeGpu, arguments: dict[str, Any], status: str, text: str
) -> None:
    with pytest.raises(EmbeddedError, match=text) as error:
        bundle.sampler(**arguments)
    assert error.value.status == status


@pytest.mark.parametrize("device", ["auto", None])
def test_auto_is_the_gpu(bundle: EmbeddedBundle, library: Library, gpu: FakeGpu, device: str | None) -> None:
    with bundle.sampler(device=device) as sampler:
        assert library.functions.ll_sampler_device(sampler.handle) == b"tensorrt:0"


def test_misuse(bundle: EmbeddedBundle, cpu: EmbeddedSampler, sampler: EmbeddedSampler, gpu: FakeGpu) -> None:
    with pytest.raises(EmbeddedError, match="invalid argument: the sampler runs on the CPU, which has no streams"):
        embedded_gpu.set_stream(cpu, c_void_p(1))
    embedded_gpu.set_stream(cpu, LEGACY)
    with pytest.raises(EmbeddedError, match="batch is 5, expected from 1 to 4, or 0 for the default"):
        sampler.sample(5, batch=5)
    with pytest.raises(EmbeddedError, match="TensorRT is loaded already"):
        sampler.library.call("ll_set_tensorrt", b"/nowhere")
