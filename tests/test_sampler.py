"""The sampler: seeds, settings per sample and per level, given codes, cancelling, threads."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentloop.backends.cpu.session import OrtSession
from latentloop.bundles.bundle import Bundle
from latentloop.errors import InputError
from latentloop.sampling.results import Progress, Samples
from latentloop.sampling.sampler import Sampler

HEIGHTS = {"top": 4, "bottom": 8}
COUNT = 4  # samples in most of these tests, and their batch size
SEEDS = (70, 71, 72, 2**64 - 1)


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


@pytest.fixture(scope="module")
def plain(sampler: Sampler) -> Samples:
    """Four samples of class 1 with default settings."""
    return draw(sampler)


def draw(sampler: Sampler, **changes: Any) -> Samples:
    return sampler.sample(**{"n": COUNT, "seeds": SEEDS, "labels": 1, "batch_size": COUNT, **changes})


def same(a: Samples, b: Samples, index_a: Any = ..., index_b: Any = ...) -> bool:
    """Returns whether samples ``index_a`` of ``a`` and ``index_b`` of ``b`` are bit-identical."""
    codes = all(np.array_equal(a.codes[name][index_a], b.codes[name][index_b]) for name in HEIGHTS)
    return codes and np.array_equal(a.images[index_a], b.images[index_b])


def test_a_seed_draws_the_same_sample_again(small_bundle: Path, sampler: Sampler, plain: Samples) -> None:
    assert same(draw(sampler), plain)
    assert same(draw(Sampler(Bundle.open(small_bundle), threads=1)), plain)
    distinct = {plain.codes["bottom"][index].tobytes() for index in range(COUNT)}
    assert len(distinct) == COUNT


def test_a_sample_does_not_depend_on_the_rest_of_its_batch_or_its_position(sampler: Sampler, plain: Samples) -> None:
    for seeds in ([71], [5, 71], [5, 6, 7, 71], [5, 6, 7, 8, 9, 71], [71, 71]):
        samples = draw(sampler, n=len(seeds), seeds=seeds)
        assert same(samples, plain, seeds.index(71), 1), seeds
    assert same(samples, samples, 0, 1)


@pytest.mark.parametrize(
    "change",
    [{"labels": 2}, {"temperature": 0.1}, {"top_k": 1}, {"top_p": 0.05}],
    ids=lambda change: next(iter(change)),
)
def test_a_setting_per_sample_affects_only_that_sample(
    sampler: Sampler, plain: Samples, change: dict[str, Any]
) -> None:
    ((name, value),) = change.items()
    neutral = {"labels": 1, "temperature": 1.0, "top_k": 11, "top_p": 1.0}[name]
    samples = draw(sampler, **{name: [neutral, neutral, value, neutral]})
    assert same(samples, plain, [0, 1, 3], [0, 1, 3])
    assert not same(samples, plain, 2, 2)
    assert same(samples, draw(sampler, **change), 2, 2)


def test_a_setting_per_level_affects_only_that_level(sampler: Sampler, plain: Samples) -> None:
    greedy = draw(sampler, top_k=1)
    bottom = draw(sampler, top_k={"bottom": 1})
    np.testing.assert_array_equal(bottom.codes["top"], plain.codes["top"])
    assert not np.array_equal(bottom.codes["bottom"], plain.codes["bottom"])
    top = draw(sampler, top_k={"top": [1, 1, 11, 11], "bottom": None})
    np.testing.assert_array_equal(top.codes["top"][:2], greedy.codes["top"][:2])
    assert same(top, plain, [2, 3], [2, 3])


@pytest.mark.parametrize("length", [1, 7, 23, 24])
def test_giving_a_prefix_of_the_same_codes_changes_nothing(sampler: Sampler, plain: Samples, length: int) -> None:
    given = {name: codes.reshape(COUNT, -1).copy() for name, codes in plain.codes.items()}
    given["top"][:, length:] = -1
    given["bottom"][1:, length:] = -1  # the first sample's are given completely
    shaped = {name: codes.reshape(plain.codes[name].shape) for name, codes in given.items()}
    assert same(draw(sampler, given=shaped), plain)


def test_given_codes_are_kept_and_affect_the_codes_after_them(sampler: Sampler, plain: Samples) -> None:
    given = np.full((COUNT, 4, 6), -1)
    given[0] = (plain.codes["top"][0] + 1) % 11
    given[2, 0] = given[2, 1, :2] = 3
    samples = draw(sampler, given={"top": given})
    np.testing.assert_array_equal(samples.codes["top"][given >= 0], given[given >= 0])
    assert same(samples, plain, [1, 3], [1, 3])
    assert not np.array_equal(samples.codes["bottom"][2], plain.codes["bottom"][2])
    assert not np.array_equal(samples.codes["bottom"][0], plain.codes["bottom"][0])


def test_default_labels_cycle_through_the_classes(sampler: Sampler) -> None:
    samples = draw(sampler, labels=None)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2, 0]
    assert same(samples, draw(sampler, labels=["coat", "bag", "boot", "coat"]))


def test_the_callback_is_called_for_every_row_of_every_level_and_batch(sampler: Sampler) -> None:
    calls: list[Progress] = []
    samples = draw(sampler, n=5, seeds=1, batch_size=2, callback=calls.append)
    rows = [(level, row, height) for level, height in HEIGHTS.items() for row in range(1, height + 1)]
    expected = [Progress(*row, done, 5) for done in (0, 2, 4) for row in rows]
    assert calls == expected
    assert not samples.cancelled


def test_cancelling_returns_the_finished_batches(sampler: Sampler) -> None:
    complete = draw(sampler, n=5, seeds=1, batch_size=2)
    calls: list[Progress] = []

    def stop_in_the_second_batch(progress: Progress) -> bool:
        calls.append(progress)
        return not (progress.images_done == 2 and progress.level == "bottom" and progress.rows_done == 3)

    samples = draw(sampler, n=5, seeds=1, batch_size=2, callback=stop_in_the_second_batch)
    assert len(calls) == 12 + 4 + 3
    assert samples.cancelled
    assert (len(samples.images), samples.seeds.tolist(), samples.labels is not None and len(samples.labels)) == (
        2,
        [1, 2],
        2,
    )
    assert same(samples, complete, slice(None), slice(2))
    nothing = draw(sampler, callback=lambda _: False)
    assert nothing.cancelled
    assert nothing.images.shape == (0, 32, 48, 3)
    assert {name: codes.shape for name, codes in nothing.codes.items()} == {"top": (0, 4, 6), "bottom": (0, 8, 12)}


@pytest.mark.parametrize("result", [None, 0, "", 0.0, (), np.array([]), np.True_, True])
def test_only_false_cancels(sampler: Sampler, plain: Samples, result: Any) -> None:
    assert same(draw(sampler, callback=lambda _: result), plain)


def test_the_false_of_a_comparison_of_numpy_numbers_cancels(sampler: Sampler) -> None:
    assert draw(sampler, callback=lambda progress: progress.rows_done < np.int64(1)).cancelled


def test_an_error_in_the_callback_propagates_and_the_sampler_stays_usable(sampler: Sampler, plain: Samples) -> None:
    def fail(progress: Progress) -> None:
        if progress.level == "bottom" and progress.rows_done == 5:
            raise ZeroDivisionError("the caller's")

    with pytest.raises(ZeroDivisionError, match="the caller's"):
        draw(sampler, callback=fail)
    assert same(draw(sampler), plain)


def test_threads_share_graphs_and_draw_the_same_as_one_thread(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(path: Path, *arguments: Any) -> OrtSession:
        loaded.append(path.name)
        return OrtSession(path, *arguments)

    monkeypatch.setattr("latentloop.backends.cpu.session.OrtSession", counted)
    bundle = Bundle.open(small_bundle)
    settings: list[dict[str, Any]] = [{}, {"top_k": 3}, {"labels": 0}, {"temperature": 0.7}]

    def run(change: dict[str, Any]) -> Samples:
        return draw(Sampler(bundle, threads=1), **change)

    with ThreadPoolExecutor(len(settings)) as pool:
        together = list(pool.map(run, settings))
    assert len(loaded) == len(set(loaded)) == 9  # all except the encoder
    assert all(same(samples, run(change)) for samples, change in zip(together, settings, strict=True))
    assert len(loaded) == 9


def test_a_bundle_without_priors_encodes_and_decodes_only(grey_bundle: Path) -> None:
    codec = Sampler(Bundle.open(grey_bundle), threads=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    codes = codec.encode(images)
    assert {name: value.shape for name, value in codes.items()} == {"top": (2, 2, 2), "bottom": (2, 4, 4)}
    assert codec.decode(codes).shape == images.shape
    actions: list[Callable[[], object]] = [codec.sample, lambda: codec.log_likelihood(codes)]
    for action in actions:
        with pytest.raises(InputError, match="no prior for the level 'top'"):
            action()
    samples = codec.sample(2, given=codes)  # nothing is left to draw
    assert samples.labels is None
    np.testing.assert_array_equal(samples.images, codec.decode(codes))


def test_a_missing_lower_prior_is_an_error_before_the_first_row(small_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(small_bundle, tmp_path / "copy")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["levels"][1]["prior"] = None
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    sampler, rows = Sampler(Bundle.open(bundle), threads=1), list[Progress]()
    with pytest.raises(InputError, match="no prior for the level 'bottom'"):
        sampler.sample(1, callback=rows.append)
    assert rows == []


def test_a_running_sampler_refuses_a_second_run(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="already running"):
        sampler.sample(2, seeds=1, callback=lambda _: bool(sampler.sample(1, seeds=2)))
    started, proceed = threading.Event(), threading.Event()

    def wait(_: Progress) -> None:
        started.set()
        proceed.wait(10)

    first = threading.Thread(target=lambda: sampler.sample(1, seeds=1, callback=wait))
    first.start()
    assert started.wait(10)
    with pytest.raises(InputError, match="already running"):
        sampler.sample(1, seeds=1)
    proceed.set()
    first.join()
    assert len(sampler.sample(1, seeds=1).images) == 1


@pytest.mark.parametrize("arguments", [{"n": 2**21}, {"n": 1, "batch_size": 5000}, {"n": 1, "batch_size": 2**31}])
def test_requests_too_large_for_any_memory_are_refused_at_once(sampler: Sampler, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected at most"):
        sampler.sample(**arguments)


def test_a_batch_that_needs_too_much_memory_is_refused(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentloop.bundles.views.LARGEST_LOOP", 10**5)
    with pytest.raises(InputError, match="use a smaller one"):
        Sampler(sampler.bundle).sample(16, seeds=1)


def test_given_codes_need_labels(sampler: Sampler, plain: Samples) -> None:
    for given in (plain.codes, {"top": plain.codes["top"]}):
        with pytest.raises(InputError, match=r"codes are given without labels, .* pass labels, one of the 3 classes"):
            draw(sampler, labels=None, given=given)
    nothing = {"top": np.full((COUNT, 4, 6), -1)}
    assert same(draw(sampler, labels=None, given=nothing), draw(sampler, labels=None))


def test_results_are_compared_by_identity_and_hashed(sampler: Sampler) -> None:
    samples = [sampler.sample(2, seeds=1) for _ in range(2)]
    classified = [sampler.classify(each.images) for each in samples]
    for first, second in (samples, classified):
        assert first == first
        assert first != second
        assert len({first, second}) == 2
