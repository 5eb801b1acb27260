"""Rejection sampling: comparison with a simple selection, seeds of kept samples, cancelled runs, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import codes, run

from latentloop import Bundle, InputError, Sampler, Selection, sample_best
from latentloop.sampling.rejection import best_of_candidates, candidates, choose
from latentloop.sampling.sample_request import SampleRequest

BATCH = 4


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


def reference_choice(labels: list[int], candidates: list[int], confidence: list[float]) -> list[int]:
    """Returns the candidates to keep, chosen label by label with a sort."""
    kept: list[tuple[int, int]] = []  # position in the request, candidate
    for label in set(labels):
        positions = [position for position, requested in enumerate(labels) if requested == label]
        ranked = sorted((-confidence[i], i) for i, other in enumerate(candidates) if other == label)
        kept += zip(positions, sorted(i for _, i in ranked[: len(positions)]), strict=False)
    return [candidate for _, candidate in sorted(kept)]


def test_choose_equals_the_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        requested = rng.integers(0, 4, rng.integers(1, 9))
        candidates = rng.integers(0, 5, rng.integers(0, 30))
        confidence = (rng.integers(0, 6, len(candidates)) / 5).astype(np.float32)  # with many ties
        expected = reference_choice(requested.tolist(), candidates.tolist(), confidence.tolist())
        assert choose(requested, candidates, confidence).tolist() == expected


@pytest.mark.parametrize("keep", ["1", "0.5", "0.3", "0.1", "0.07"])
def test_every_label_has_its_share_of_candidates(keep: str) -> None:
    requested = np.array([2, 0, 2, 2, 1, 0])
    labels = requested[candidates(requested, Fraction(keep))]
    for label, count in enumerate((2, 1, 3)):
        assert (labels == label).sum() == math.ceil(Fraction(count) / Fraction(keep))
    assert labels[: len(requested)].tolist() == requested.tolist()  # so that a cancelled run has samples of each label


def test_a_fraction_is_exact_in_decimal(sampler: Sampler) -> None:
    assert sample_best(sampler, 3, keep=0.3, labels="bag", seeds=1, batch_size=BATCH).candidates == 10


@pytest.mark.parametrize("settings", [{}, {"temperature": {"top": 0.7}, "top_p": 0.9}], ids=["plain", "settings"])
def test_samples_with_the_highest_probability_are_kept(sampler: Sampler, settings: dict[str, Any]) -> None:
    labels = ["bag", "coat", "bag", "bag"]
    selection = sample_best(sampler, 4, keep=0.4, labels=labels, seeds=50, batch_size=BATCH, **settings)
    requested = [1, 0, 1, 1]
    candidates = [1, 0, 1, 1] * 2 + [1, 0, 1]  # ceil(3 / 0.4) = 8 bags, ceil(1 / 0.4) = 3 coats
    assert selection.candidates == len(candidates) == 11
    drawn = sampler.sample(11, labels=candidates, seeds=50, batch_size=BATCH, **settings)
    confidence = sampler.classify(drawn.images).probabilities[range(11), candidates]
    expected = reference_choice(requested, candidates, confidence.tolist())
    assert expected != [0, 1, 2, 3]  # the first ones are not the best
    samples = selection.samples
    assert samples.labels is not None
    assert samples.labels.tolist() == requested
    assert samples.seeds.tolist() == [50 + index for index in expected]
    np.testing.assert_array_equal(samples.images, drawn.images[expected])
    for name, values in drawn.codes.items():
        np.testing.assert_array_equal(samples.codes[name], values[expected])
    np.testing.assert_array_equal(selection.confidence, confidence[expected])
    assert not samples.cancelled
    again = sampler.sample(4, seeds=samples.seeds, labels=samples.labels, batch_size=BATCH, **settings)
    np.testing.assert_array_equal(again.images, samples.images)


def test_keeping_all_candidates_equals_sampling(sampler: Sampler) -> None:
    selection, plain = sample_best(sampler, 5, keep=1, seeds=3), sampler.sample(5, seeds=3)
    assert selection.samples.seeds.tolist() == plain.seeds.tolist()
    np.testing.assert_array_equal(selection.samples.images, plain.images)
    assert selection.candidates == 5


def test_without_a_seed_every_run_has_fresh_seeds(sampler: Sampler) -> None:
    first, second = (sample_best(sampler, keep=0.5).samples for _ in range(2))
    assert first.seeds.tolist() != second.seeds.tolist()


def test_a_cancelled_run_chooses_among_the_finished_candidates(sampler: Sampler) -> None:
    def cancelled(after: int) -> Selection:
        return sample_best(
            sampler,
            3,
            keep=0.25,
            labels=[0, 0, 1],
            seeds=9,
            batch_size=2,
            callback=lambda progress: progress.images_done < after,
        )

    selection = cancelled(4)  # candidates of labels 0, 0, 1, 0
    candidates = sampler.sample(4, labels=[0, 0, 1, 0], seeds=9, batch_size=2)
    confidence = sampler.classify(candidates.images).probabilities[range(4), [0, 0, 1, 0]]
    expected = reference_choice([0, 0, 1], [0, 0, 1, 0], confidence.tolist())
    assert selection.samples.cancelled
    assert selection.candidates == 4
    assert selection.samples.seeds.tolist() == [9 + index for index in expected]
    none = cancelled(0)
    assert (len(none.samples.images), none.candidates, len(none.confidence)) == (0, 0, 0)
    assert none.samples.cancelled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": 0}, "keep is 0, expected a fraction over 0, at most 1"),
        ({"keep": 10**5000}, "keep is an integer of 16610 bits, expected"),
        ({"seeds": -(10**5000)}, "an integer of 16610 bits"),
        ({"keep": 1.5}, "keep is 1.5, expected"),
        ({"keep": float("nan")}, "keep is nan, expected"),
        ({"keep": True}, "keep is True, expected"),
        ({"keep": "0.5"}, "keep is '0.5', expected"),
        ({"keep": 1e-9}, "the fraction to keep is 1e-09, which needs more than 1048576 candidates: use a larger"),
        ({"labels": 3}, "label 3 is not one of the 3 classes"),
        ({"labels": [0]}, "1 label for 2 samples"),
        ({"temperature": [1.0, 2.0]}, r"temperature is \[1.0, 2.0\], expected one number for all samples"),
        ({"top_k": {"top": [1, 2]}}, r"top_k is \[1, 2\], expected one number"),
        ({"seeds": [1, 2]}, r"seeds is \[1, 2\], expected one integer, the first candidate's seed"),
        ({"seeds": -1}, r"seeds holds -1, expected integers from 0"),
        ({"n": 0}, "n is 0, expected a positive integer"),
        ({"temprature": 0.5}, "no setting 'temprature', expected one of temperature, top_k, "),
    ],
)
def test_invalid_arguments(sampler: Sampler, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample_best(sampler, **{"n": 2, "keep": 0.5, **change})


def test_samples_without_classes_cannot_be_compared(sampler: Sampler) -> None:
    request = SampleRequest.validated(sampler.bundle.manifest, 2, labels=0, settings={})
    with pytest.raises(InputError, match="has no classes, so a classifier cannot compare samples"):
        best_of_candidates(sampler, replace(request, labels=None), 0.5, None, None)


def test_the_best_option_of_the_command(
    sampler: Sampler, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = ("--per-class", 2, "--seed", 5, "--best", 0.5, "--batch-size", BATCH)
    common = ("sample", "--bundle", small_bundle, "--threads", 1, *request)
    assert run(*common, "--out", f"{tmp_path}/best/", "--codes", tmp_path / "c.npz", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    expected = sample_best(sampler, 6, keep=0.5, labels=[0, 0, 1, 1, 2, 2], seeds=5, batch_size=BATCH)
    assert (summary["images"], summary["candidates"]) == (6, 12)
    assert summary["seeds"] == expected.samples.seeds.tolist() == codes(tmp_path / "c.npz")["seeds"].tolist()
    assert summary["confidence"] == pytest.approx(expected.confidence.tolist())
    names = zip(range(6), summary["labels"], summary["seeds"], strict=True)
    files = [f"{index:05}-{label}-seed{seed}.png" for index, label, seed in names]
    assert sorted(file.name for file in (tmp_path / "best").glob("*.png")) == files
    assert run(*common, "--out", tmp_path / "best.png") == 0
    assert capsys.readouterr().out.endswith(" on cpu, the best of 12 with seeds 5 to 16\n")
    assert run("sample", "--bundle", small_bundle, "-n", 1, "--out", tmp_path / "plain.png", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["candidates"], summary["confidence"]) == (None, None)


def test_the_best_option_needs_a_classifier_and_no_given_codes(
    small_bundle: Path, grey_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    common = ("sample", "--out", tmp_path / "a.png", "--best")
    assert "'2' is not a fraction over 0, at most 1" in fails(2, *common, 2)
    assert "'x' is not a fraction" in fails(2, *common, "x")
    assert "has no prior for the level 'top'" in fails(2, *common, 0.5, "--bundle", grey_bundle)
    np.savez(tmp_path / "given.npz", top=np.zeros((1, 4, 6), np.int64))
    given = ("--given", tmp_path / "given.npz", "--bundle", small_bundle)
    assert "--given holds codes of the images: use one" in fails(2, *common, 0.5, *given)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("sampler", [None, "cpu", {}], ids=str)
def test_anything_but_a_sampler_is_refused(sampler: Any) -> None:
    with pytest.raises(InputError, match=r"sampler is .*, expected a Sampler"):
        sample_best(sampler, 1, keep=0.5)


def test_durations_are_no_numbers(sampler: Sampler) -> None:
    duration: Any = np.timedelta64(1)
    with pytest.raises(InputError, match=r"keep is .*, expected a fraction"):
        sample_best(sampler, 1, keep=duration)
    with pytest.raises(InputError, match=r"batch_size is .*, expected a positive integer"):
        sampler.sample(1, batch_size=duration)
    with pytest.raises(InputError, match=r"threads is .*, expected a positive integer"):
        Sampler(sampler.bundle, threads=duration)
