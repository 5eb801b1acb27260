"""Whole images on a GPU that the host plays: the CPU's codes, in any order that streams permit."""

from __future__ import annotations

import gc
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_machines import MOST, Machines, check_images, check_same, with_engines
from spoilt_bundles import scaled_weight

from latentloop import Bundle, BundleError, InputError, Progress, Sampler, Samples
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
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


def test_the_bundle_that_ships(default_engines: Path, machines: Machines, device: str) -> None:
    machines(seed=5)
    bundle = Bundle.open(default_engines)
    asked: dict[str, Any] = {"n": 3, "seeds": 3, "batch_size": 2}
    check_same(Sampler(bundle, device).sample(**asked), Sampler(bundle, "cpu").sample(**asked))


def calls(plain: Samples) -> dict[str, dict[str, Any]]:
    """One after the other, each must leave nothing behind that the next one sees."""
    top, bottom = (plain.codes[name].reshape(3, -1) for name in ("top", "bottom"))
    prefix_of_top, prefix_of_bottom = (np.where(np.arange(v.shape[1]) < 7, v, -1) for v in (top, bottom))
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
        "a batch that is too large": {"batch_size": MOST},
        "other classes": {"labels": "boot", "temperature": {"bottom": 0.3}},
    }


def test_no_call_leaves_anything_behind(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=1)
    sampler = Sampler(Bundle.open(small_engines), device)
    asked = calls(draw(cpu))
    for case in [*asked, *sorted(asked, key=lambda name: name[::-1])]:
        check_same(draw(sampler, **asked[case]), draw(cpu, **asked[case]), case)


def test_the_callback_sees_what_it_sees_on_a_cpu(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str
) -> None:
    machines(seed=2)
    sampler = Sampler(Bundle.open(small_engines), device)
    seen: dict[Sampler, list[Progress]] = {sampler: [], cpu: []}
    found, expected = (draw(each, batch_size=2, callback=seen[each].append) for each in (sampler, cpu))
    check_same(found, expected)
    assert seen[sampler] == seen[cpu]


@pytest.mark.parametrize("stop", [("top", 0, 1), ("top", 0, 4), ("bottom", 0, 3), ("bottom", 2, 8)])
def test_the_callback_cancels(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str, stop: tuple[str, int, int]
) -> None:
    machines(seed=3)
    sampler = Sampler(Bundle.open(small_engines), device)

    def go_on(progress: Progress) -> bool:
        return (progress.level, progress.images_done, progress.rows_done) != stop

    found = draw(sampler, batch_size=2, callback=go_on)
    assert found.cancelled
    assert len(found.images) == stop[1]
    check_same(found, draw(cpu, batch_size=2, callback=go_on), stop)
    check_same(draw(sampler, batch_size=2), draw(cpu, batch_size=2), "afterwards")


def test_an_error_in_the_callback_does_no_harm(
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
        found = sampler.log_likelihood(drawn.codes, drawn.labels)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        check_same(draw(sampler), drawn)


@pytest.mark.parametrize("taken", [1, 3])
def test_rows_that_nobody_wants(small_engines: Path, machines: Machines, cpu: Sampler, device: str, taken: int) -> None:
    machines(seed=6)
    sampler = Sampler(Bundle.open(small_engines), device)
    level = sampler.bundle.manifest.levels[0]
    level_inputs = LevelInputs(
        uniform=uniforms(np.array([5, 6], np.uint64), 0, level.height, level.width),
        forced=np.full((level.height, level.width, 2), -1),
        temperature=np.ones(2, np.float32),
        labels=np.array([0, 2]),
    )
    expected = [row.codes.copy() for row in cpu.rows(level, level_inputs)]
    rows: Any = sampler.rows(level, level_inputs)
    for i in range(taken):
        np.testing.assert_array_equal(next(rows).codes, expected[i])
    with pytest.raises(InputError, match="running already"):
        draw(sampler)
    rows.close()
    np.testing.assert_array_equal([row.codes for row in sampler.rows(level, level_inputs)], expected)
    check_same(draw(sampler), draw(cpu))


def test_images_to_codes_and_back(small_engines: Path, machines: Machines, cpu: Sampler, device: str) -> None:
    machines(seed=7)
    sampler = Sampler(Bundle.open(small_engines), device)
    images = draw(cpu).images
    for n in (3, 1, 3):
        found, expected = sampler.encode(images[:n]), cpu.encode(images[:n])
        for name, codes in expected.items():
            np.testing.assert_array_equal(found[name], codes, name)
        check_images(sampler.decode(found), cpu.decode(expected))


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8"])
def test_golden_vectors(default_engines: Path, machines: Machines, precision: str) -> None:
    machines(seed=8)
    checks = list(verify(Sampler(Bundle.open(default_engines), "tensorrt", precision=precision)))
    assert len(checks) == 11
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_golden_vectors_through_onnx_runtime(default_engines: Path, machines: Machines, precision: str) -> None:
    machines(seed=8)
    checks = list(verify(Sampler(Bundle.open(default_engines), "cuda", precision=precision)))
    assert len(checks) == 11
    assert [check for check in checks if not check.passed] == []


def test_two_samplers_of_one_bundle_in_two_threads(
    small_engines: Path, machines: Machines, cpu: Sampler, device: str
) -> None:
    machines(seed=9)
    bundle = Bundle.open(small_engines)
    asked: list[dict[str, Any]] = [{"labels": 1}, {"labels": 2, "top_k": 5}]
    expected = [draw(cpu, **each) for each in asked]

    def several(each: dict[str, Any]) -> list[Samples]:
        sampler = Sampler(bundle, device)
        return [draw(sampler, **each) for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        for found, right in zip(pool.map(several, asked), expected, strict=True):
            for samples in found:
                check_same(samples, right)


def test_more_than_the_engines_take_at_once(small_engines: Path, machines: Machines, cpu: Sampler) -> None:
    machines(seed=10)
    sampler = Sampler(Bundle.open(small_engines), "tensorrt")
    drawn = cpu.sample(MOST + 1, seeds=1, labels=0)
    check_same(sampler.sample(MOST + 1, seeds=1, labels=0), drawn)
    check_images(sampler.decode(drawn.codes), drawn.images)
    for name, codes in sampler.encode(drawn.images).items():
        np.testing.assert_array_equal(codes, cpu.encode(drawn.images)[name])
    for name, found in sampler.log_likelihood(drawn.codes, drawn.labels).items():
        np.testing.assert_allclose(found, cpu.log_likelihood(drawn.codes, drawn.labels)[name], atol=1e-3)


def test_memory_goes_with_the_sampler(small_engines: Path, machines: Machines, device: str) -> None:
    driver = machines(seed=11)
    sampler = Sampler(Bundle.open(small_engines), device)
    drawn = draw(sampler, top_k=4)
    draw(sampler, batch_size=2)
    sampler.log_likelihood(drawn.codes, drawn.labels)
    sampler.decode(sampler.encode(drawn.images))
    gc.collect()
    gc.disable()  # a cycle would keep a GPU's memory until the collector comes by
    try:
        assert driver.live() > 0
        del sampler
        driver.finish()
        assert driver.live() == 0
        assert driver.kept() == 0
    finally:
        gc.enable()


def test_another_batch_size_needs_no_more_memory(
    small_engines: Path, machines: Machines, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = machines(seed=12)
    sampler = Sampler(Bundle.open(small_engines), device)
    most, allocate = 0, driver.allocate

    def counted(*arguments: Any) -> int:
        nonlocal most
        pointer = allocate(*arguments)
        most = max(most, driver.live())
        return pointer

    monkeypatch.setattr(driver, "allocate", counted)
    draw(sampler)
    alone = most
    for batch_size in (1, 2, 3):
        draw(sampler, batch_size=batch_size)
    assert most == alone


def test_weights_that_are_damaged_are_told(small_bundle: Path, tmp_path: Path, machines: Machines, device: str) -> None:
    broken = shutil.copytree(small_bundle, tmp_path / "broken")
    graph = json.loads((broken / "manifest.json").read_text())["levels"][1]["prior"]["graphs"]["step"]["file"]
    scaled_weight(broken, graph, "bottom.logits_bias", np.nan)
    machines(seed=13)
    sampler = Sampler(Bundle.open(with_engines(broken, tmp_path / "engines")), device)
    for _ in range(2):
        with pytest.raises(BundleError, match="bottom has logits that are not finite numbers"):
            draw(sampler)
    codes = {"top": np.zeros((1, 4, 6), int), "bottom": np.zeros((1, 8, 12), int)}
    with pytest.raises(BundleError, match="bottom has logits that are not finite numbers"):
        sampler.log_likelihood(codes, 1)
    given = {"bottom": np.zeros((3, 8, 12), int)}
    assert draw(sampler, given=given).codes["top"].max() < 11
