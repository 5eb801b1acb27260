"""Sampling on the fake GPU: the same codes as on the CPU, in any order that streams permit."""

from __future__ import annotations

import gc
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrupted_bundles import scale_weight
from gpu_machines import MAX_BATCH, Machines, check_images, check_same, with_engines

from latentloop import Bundle, BundleError, InputError, Progress, Sampler, Samples
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.sampling.sampler import runs_of
from latentloop.sampling.verification import verify

SEEDS = (70, 71, 2**64 - 1)


@pytest.fixture(scope="module")
def cpu(small_engines: Path) -> Sampler:
    return Sampler(Bundle.open(small_engines), "cpu", threads=1)


def draw(sampler: Sampler, **changes: Any) -> Samples:
    return sampler.sample(**{"n": len(SEEDS), "seeds": SEEDS, "labels": 1, **changes})


@pytest.mark.parametrize("seed", range(4))
def test_samples_are_the_cpus(small_engines: Path, machines: Machines, cpu: Sampler, device: str, seed: int) -> None:
    machines(seed=seed, early=seed % 2 == 1)
    sampler = Sampler(Bundle.open(small_engines), device)
    assert sampler.device == f"{device}:0"
    check_same(draw(sampler), draw(cpu))


def test_the_default_bundle(default_engines: Path, machines: Machines, device: str) -> None:
    machines(seed=5)
    bundle = Bundle.open(default_engines)
    arguments: dict[str, Any] = {"n": 3, "seeds": 3, "batch_size": 2}
    check_same(Sampler(bundle, device).sample(**arguments), Sampler(bundle, "cpu").sample(**arguments))


def calls(plain: Samples) -> dict[str, dict[str, Any]]:
    """Returns the arguments of calls that must not influence each other."""
    top, bottom = (plain.codes[name].reshape(3, -1) for name in ("top", "bottom"))
    prefix_of_top, prefix_of_bottom = (np.where(np.arange(codes.shape[1]) < 7, codes, -1) for codes in (top, bottom))
    prefix_of_top[1] = top[1]
    grids = {"top": (3, 4, 6), "bottom": (3, 8, 12)}

    def shaped(**codes: Any) -> dict[str, dict[str, Any]]:
        return {"given": {name: values.reshape(grids[name]) for name, values in codes.items()}}

    return {
        "plain": {},
        "a batch of one": {"batch_size": 1},
        "a filter": {"top_k": [1, 4, 11]},
        "two filters of one level": {"top_k": {"top": 3}, "top_p": {"top": [0.2, 0.9, 1]}, "temperature": 1.5},
        "the upper level": shaped(top=(top + 1) % 11),
        "plain again": {},
        "the lower level": shaped(bottom=(bottom + 1) % 11),
        "everything": shaped(top=top, bottom=(bottom + 2) % 11),
        "prefixes": shaped(top=prefix_of_top, bottom=prefix_of_bottom),
        "a short last batch": {"batch_size": 2, "labels": [0, 1, 2]},
        "a batch that is too large": {"batch_size": MAX_BATCH},
        "other classes": {"labels": "boot", "temperature": {"bottom": 0.3}},
    }


@pytest.mark.slow
def test_calls_do_not_influence_later_calls(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=1)
    sampler = Sampler(Bundle.open(small_engines), device)
    arguments = calls(draw(cpu))
    for case in [*arguments, *sorted(arguments, key=lambda name: name[::-1])]:
        check_same(draw(sampler, **arguments[case]), draw(cpu, **arguments[case]), case)


def test_progress_equals_the_cpus(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=2)
    sampler = Sampler(Bundle.open(small_engines), device)
    progress: dict[Sampler, list[Progress]] = {sampler: [], cpu: []}
    samples, expected = (draw(each, batch_size=2, callback=progress[each].append) for each in (sampler, cpu))
    check_same(samples, expected)
    assert progress[sampler] == progress[cpu]


@pytest.mark.parametrize("stop", [("top", 0, 1), ("top", 0, 4), ("bottom", 0, 3), ("bottom", 2, 8)])
def test_the_callback_cancels(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str, stop: tuple[str, int, int]
) -> None:
    machines(seed=3)
    sampler = Sampler(Bundle.open(small_engines), device)

    def callback(progress: Progress) -> bool:
        return (progress.level, progress.images_done, progress.rows_done) != stop

    samples = draw(sampler, batch_size=2, callback=callback)
    assert samples.cancelled
    assert len(samples.images) == stop[1]
    check_same(samples, draw(cpu, batch_size=2, callback=callback), stop)
    check_same(draw(sampler, batch_size=2), draw(cpu, batch_size=2), "afterwards")


def test_samples_are_right_after_an_error_in_the_callback(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str
) -> None:
    machines(seed=4)
    sampler = Sampler(Bundle.open(small_engines), device)

    def fail(progress: Progress) -> None:
        if (progress.level, progress.rows_done) == ("bottom", 5):
            raise ZeroDivisionError("the caller's")

    with pytest.raises(ZeroDivisionError, match="the caller's"):
        draw(sampler, callback=fail)
    check_same(draw(sampler), draw(cpu))


def test_the_likelihood_of_codes(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=5)
    sampler = Sampler(Bundle.open(small_engines), device)
    drawn = draw(cpu)
    expected = cpu.log_likelihood(drawn.codes, drawn.labels)
    for _ in range(2):
        actual = sampler.log_likelihood(drawn.codes, drawn.labels)
        for name, values in expected.items():
            np.testing.assert_allclose(actual[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        check_same(draw(sampler), drawn)


@pytest.mark.parametrize("taken", [1, 3])
def test_rows_can_be_abandoned(small_engines: Path, machines: Machines, cpu: Sampler, device: str, taken: int) -> None:
    machines(seed=6)
    sampler = Sampler(Bundle.open(small_engines), device)
    level = sampler.bundle.manifest.levels[0]
    level_inputs = LevelInputs(
        uniform=uniforms(np.array([5, 6], np.uint64), 0, level.height, level.width),
        forced=np.full((level.height, level.width, 2), -1),
        labels=np.array([0, 2]),
    )
    expected = [row.codes.copy() for row in runs_of(cpu).rows(level, level_inputs)]
    rows: Any = runs_of(sampler).rows(level, level_inputs)
    for i in range(taken):
        np.testing.assert_array_equal(next(rows).codes, expected[i])
    with pytest.raises(InputError, match="already running"):
        draw(sampler)
    rows.close()
    np.testing.assert_array_equal([row.codes for row in runs_of(sampler).rows(level, level_inputs)], expected)
    check_same(draw(sampler), draw(cpu))


def test_encoding_and_decoding(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=7)
    sampler = Sampler(Bundle.open(small_engines), device)
    images = draw(cpu).images
    for n in (3, 1, 3):
        codes, expected = sampler.encode(images[:n]), cpu.encode(images[:n])
        for name, expected_codes in expected.items():
            np.testing.assert_array_equal(codes[name], expected_codes, name)
        check_images(sampler.decode(codes), cpu.decode(expected))


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
def test_golden_vectors(default_engines: Path, machines: Machines, precision: str) -> None:
    machines(seed=8)
    checks = list(verify(Sampler(Bundle.open(default_engines), "tensorrt", precision=precision)))
    assert len(checks) == 22
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_golden_vectors_through_onnx_runtime(default_engines: Path, machines: Machines, precision: str) -> None:
    machines(seed=8)
    checks = list(verify(Sampler(Bundle.open(default_engines), "cuda", precision=precision)))
    assert len(checks) == 22
    assert [check for check in checks if not check.passed] == []


def test_two_samplers_of_one_bundle_in_two_threads(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str
) -> None:
    machines(seed=9)
    bundle = Bundle.open(small_engines)
    calls: list[dict[str, Any]] = [{"labels": 1}, {"labels": 2, "top_k": 5}]
    expected = [draw(cpu, **arguments) for arguments in calls]

    def draw_three_times(arguments: dict[str, Any]) -> list[Samples]:
        sampler = Sampler(bundle, device)
        return [draw(sampler, **arguments) for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        for results, expected_samples in zip(pool.map(draw_three_times, calls), expected, strict=True):
            for samples in results:
                check_same(samples, expected_samples)


def test_more_images_than_the_engines_maximum_batch(small_engines: Path, machines: Machines, cpu: Sampler) -> None:
    machines(seed=10)
    sampler = Sampler(Bundle.open(small_engines), "tensorrt")
    drawn = cpu.sample(MAX_BATCH + 1, seeds=1, labels=0)
    check_same(sampler.sample(MAX_BATCH + 1, seeds=1, labels=0), drawn)
    check_images(sampler.decode(drawn.codes), drawn.images)
    for name, codes in sampler.encode(drawn.images).items():
        np.testing.assert_array_equal(codes, cpu.encode(drawn.images)[name])
    for name, values in sampler.log_likelihood(drawn.codes, drawn.labels).items():
        np.testing.assert_allclose(values, cpu.log_likelihood(drawn.codes, drawn.labels)[name], atol=1e-3)


def test_memory_is_freed_with_the_sampler(small_engines: Path, machines: Machines, device: str) -> None:
    driver = machines(seed=11)
    sampler = Sampler(Bundle.open(small_engines), device)
    drawn = draw(sampler, top_k=4)
    draw(sampler, batch_size=2)
    sampler.log_likelihood(drawn.codes, drawn.labels)
    sampler.decode(sampler.encode(drawn.images))
    gc.collect()
    gc.disable()  # without it, a reference cycle would keep the GPU's memory
    try:
        assert driver.live() > 0
        del sampler
        driver.finish()
        assert driver.live() == 0
        assert driver.unfreed() == 0
    finally:
        gc.enable()


def test_another_batch_size_needs_no_more_memory(
    small_engines: Path, machines: Machines, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = machines(seed=12)
    sampler = Sampler(Bundle.open(small_engines), device)
    peak, allocate = 0, driver.allocate

    def counted(*arguments: Any) -> int:
        nonlocal peak
        pointer = allocate(*arguments)
        peak = max(peak, driver.live())
        return pointer

    monkeypatch.setattr(driver, "allocate", counted)
    draw(sampler)
    first_peak = peak
    for batch_size in (1, 2, 3):
        draw(sampler, batch_size=batch_size)
    assert peak == first_peak


def test_damaged_weights_are_reported(small_bundle: Path, tmp_path: Path, machines: Machines, device: str) -> None:
    damaged = shutil.copytree(small_bundle, tmp_path / "damaged")
    graph = json.loads((damaged / "manifest.json").read_text())["levels"][1]["prior"]["graphs"]["step"]["file"]
    scale_weight(damaged, graph, "bottom.logits_bias", np.nan)
    machines(seed=13)
    sampler = Sampler(Bundle.open(with_engines(damaged, tmp_path / "engines")), device)
    for _ in range(2):
        with pytest.raises(BundleError, match="bottom has logits that are not finite numbers"):
            draw(sampler)
    codes = {"top": np.zeros((1, 4, 6), int), "bottom": np.zeros((1, 8, 12), int)}
    with pytest.raises(BundleError, match="bottom has logits that are not finite numbers"):
        sampler.log_likelihood(codes, 1)
    given = {"bottom": np.zeros((3, 8, 12), int)}
    assert draw(sampler, given=given).codes["top"].max() < 11
