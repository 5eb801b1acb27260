"""liblatentloop draws, encodes, decodes and scores like the Python sampler, on every bundle."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import EmbeddedBundle, EmbeddedError, EmbeddedSampler, Library, installed_library
from every_bundle import NAMES, SEEDS, bundle_folder, given_codes
from test_earlier_bundles import version_3, version_4

from latentloop import Bundle, InputError, Sampler, sample_best

__all__ = ["version_3", "version_4"]  # fixtures

DRAWS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_k": 3, "top_p": 0.9},
    {"min_p": 0.2, "temperature": 2.0},
]


@pytest.fixture(scope="module", params=["operators", "no operators"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The installed library, and a copy that does not find the native operators."""
    path = installed_library()
    if request.param == "operators":
        return Library(path)
    return Library(Path(shutil.copy(path, tmp_path_factory.mktemp("lib"))))


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_folder(request.param, small_bundle, tmp_path_factory)


@pytest.fixture(autouse=True)
def _same_operators(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the Python sampler run without native operators if the library does."""
    if library.path != installed_library():
        monkeypatch.setattr("latentloop.backends.cpu.session.operators", lambda: None)


@cache  # loading the graphs takes longer than most runs
def samplers(library: Library, folder: Path, precision: str = "float32", threads: int = 1) -> Any:
    """Returns a sampler of the C library and one of Python."""
    ours = library.open(folder).sampler(precision, threads)
    return ours, Sampler(Bundle.open(folder), "cpu", threads=threads, precision=precision)


def by_level(sampler: EmbeddedSampler, settings: dict[str, float]) -> dict[str, dict[str, float]]:
    return {name: dict.fromkeys(sampler.bundle.names(), value) for name, value in settings.items()}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_samples_equal_pythons(library: Library, folder: Path, precision: str) -> None:
    ours, sampler = samplers(library, folder, precision)
    labels = [2, 0, 1] if sampler.bundle.classes else None
    given = given_codes(sampler.bundle, len(SEEDS))
    for settings in DRAWS:
        samples = sampler.sample(len(SEEDS), seeds=SEEDS, labels=labels, given=given, **settings)
        images, codes = ours.sample(len(SEEDS), seeds=SEEDS, labels=labels, given=given, **by_level(ours, settings))
        for name, values in samples.codes.items():
            np.testing.assert_array_equal(codes[name], values, err_msg=f"{name} {settings}")
        np.testing.assert_array_equal(images, samples.images)
        assert ours.finished == len(SEEDS)


@pytest.mark.parametrize(("n", "batch"), [(7, 3), (1, 4), (18, 0)])
def test_batches_are_those_of_python(library: Library, small_bundle: Path, n: int, batch: int) -> None:
    ours, sampler = samplers(library, small_bundle, threads=2)
    reports: list[tuple[int, ...]] = []

    def progress(report: Any) -> int:
        reports.append((report.level, report.row, report.rows, report.image, report.images))
        return 0

    samples = sampler.sample(n, seeds=40, batch_size=batch or None)
    images, codes = ours.sample(n, seeds=40, batch=batch, progress=progress)
    np.testing.assert_array_equal(codes["bottom"], samples.codes["bottom"])
    np.testing.assert_array_equal(images, samples.images)
    expected = [
        (level, row + 1, rows, first, n)
        for first in range(0, n, batch or 16)
        for level, rows in enumerate((4, 8))
        for row in range(rows)
    ]
    assert reports == expected


def test_settings_by_level_and_kept_codes(library: Library, small_bundle: Path) -> None:
    ours, sampler = samplers(library, small_bundle, "int8")
    rng = np.random.default_rng(3)
    kept = np.where(np.arange(96) < 50, rng.integers(0, 11, (5, 96)), -1).reshape(5, 8, 12)
    kept[2] = -1
    settings: dict[str, Any] = {"temperature": {"top": 0.5, "bottom": 1.3}, "top_k": {"top": 2, "bottom": 11}}
    labels = [0, 2, 1, 1, 0]
    samples = sampler.sample(5, seeds=9, labels=labels, given={"bottom": kept}, batch_size=2, **settings)
    images, codes = ours.sample(5, seeds=9, labels=labels, given={"bottom": kept}, batch=2, **settings)
    for name, values in samples.codes.items():
        np.testing.assert_array_equal(codes[name], values)
    np.testing.assert_array_equal(images, samples.images)
    np.testing.assert_array_equal(codes["bottom"][kept >= 0], kept[kept >= 0])


def test_encodes_decodes_and_scores_like_python(library: Library, folder: Path) -> None:
    ours, sampler = samplers(library, folder)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (19, *sampler.bundle.image_shape), np.uint8)
    codes = sampler.encode(images)
    for name, values in ours.encode(images).items():
        np.testing.assert_array_equal(values, codes[name])
    np.testing.assert_array_equal(ours.decode(codes), sampler.decode(codes))
    partial = {name: np.where(rng.random(values.shape) < 0.5, values, -1) for name, values in codes.items()}
    half = ours.decode(partial)
    np.testing.assert_array_equal(half, sampler.decode(partial))
    assert not np.array_equal(half, ours.decode(codes))
    if sampler.bundle.has_classifier:
        np.testing.assert_array_equal(ours.classify(images), sampler.classify(images).probabilities)
    if not all(level.has_prior for level in sampler.bundle.levels):
        return
    classes = len(sampler.bundle.classes)
    labels = np.arange(19) % classes if classes else None
    nats = sampler.log_likelihood(codes, labels)
    for name, values in ours.log_likelihood(codes, labels).items():
        np.testing.assert_allclose(values, nats[name], rtol=1e-12, atol=1e-12)


def test_earlier_bundles_refuse_codes_that_are_not_drawn_like_python(library: Library, version_4: Path) -> None:
    ours, sampler = samplers(library, version_4)
    codes = sampler.sample(2, seeds=1).codes
    np.testing.assert_array_equal(ours.decode(codes), sampler.decode(codes))
    codes["bottom"][1, 7, 11] = -1
    with pytest.raises(EmbeddedError, match="codes of bottom, sample 1 hold -1, which is not drawn: the bundle has no"):
        ours.decode(codes)
    with pytest.raises(InputError, match="codes of bottom hold -1, which is not drawn: the bundle has no"):
        sampler.decode(codes)


@pytest.mark.parametrize(("n", "candidates", "batch"), [(5, 4, 0), (3, 8, 5), (4, 1, 0), (17, 2, 16)])
def test_the_best_candidates_are_those_of_python(
    library: Library, small_bundle: Path, n: int, candidates: int, batch: int
) -> None:
    ours, sampler = samplers(library, small_bundle)
    labels = [(index * index) % 3 for index in range(n)]
    best = sample_best(
        sampler, n, keep=1 / candidates, labels=labels, seeds=11, batch_size=batch or None, temperature=1.5
    )
    settings = by_level(ours, {"temperature": 1.5})
    kept = ours.sample_best(n, candidates, labels=labels, seeds=11, batch=batch, **settings)
    np.testing.assert_array_equal(kept["seeds"], best.samples.seeds)
    np.testing.assert_array_equal(kept["labels"], best.samples.labels)
    np.testing.assert_array_equal(kept["images"], best.samples.images)
    np.testing.assert_allclose(kept["confidence"], best.confidence, rtol=1e-6)
    for name, values in best.samples.codes.items():
        np.testing.assert_array_equal(kept["codes"][name], values)


def test_a_cancelled_choice_keeps_the_best_so_far(library: Library, small_bundle: Path) -> None:
    ours, sampler = samplers(library, small_bundle)
    labels, batch = [1, 0, 1, 2], 3

    def python_progress(report: Any) -> bool:
        return bool(report.images_done < 9)

    best = sample_best(sampler, 4, keep=0.25, labels=labels, seeds=5, batch_size=batch, callback=python_progress)
    assert best.candidates == 9
    with pytest.raises(Exception, match="cancelled by the progress function"):
        ours.sample_best(4, 4, labels=labels, seeds=5, batch=batch, progress=lambda report: report.image >= 9)
    assert ours.finished == len(best.confidence)
    for name, values in {"seeds": best.samples.seeds, "labels": best.samples.labels}.items():
        np.testing.assert_array_equal(ours.best[name][: ours.finished], values)
    np.testing.assert_array_equal(ours.best["images"][: ours.finished], best.samples.images)


def test_a_bundle_of_links_runs(library: Library, small_bundle: Path, tmp_path: Path) -> None:
    for file in small_bundle.iterdir():
        (tmp_path / file.name).symlink_to(os.path.relpath(file, tmp_path))
    ours, sampler = samplers(library, small_bundle)
    images, _ = library.open(tmp_path).sampler().sample(2, seeds=3)
    np.testing.assert_array_equal(images, sampler.sample(2, seeds=3).images)
    np.testing.assert_array_equal(images, ours.sample(2, seeds=3)[0])


def test_a_bundle_describes_itself(library: Library, small_bundle: Path, grey_bundle: Path) -> None:
    for path in (small_bundle, grey_bundle):
        theirs = Bundle.open(path)
        ours: EmbeddedBundle = library.open(path)
        assert ours.image == theirs.image_shape
        assert ours.classes == theirs.classes
        for level, expected in zip(ours.levels, theirs.levels, strict=True):
            assert (level.name.decode(), level.height, level.width, level.codebook_size, bool(level.has_prior)) == (
                *(expected.name, expected.height, expected.width, expected.codebook_size, expected.has_prior),
            )
        functions = library.functions
        assert functions.ll_bundle_has_classifier(ours.handle) == theirs.has_classifier
        precisions = [functions.ll_bundle_precision(ours.handle, index).decode() for index in range(2)]
        assert precisions == list(theirs.precisions)
        assert functions.ll_bundle_precisions(ours.handle) == 2


def test_samplers_outlive_their_bundle(library: Library, small_bundle: Path) -> None:
    bundle = library.open(small_bundle)
    first, second = bundle.sampler(), bundle.sampler()
    before, _ = first.sample(2, seeds=8)
    bundle.close()
    first.destroy()
    np.testing.assert_array_equal(second.sample(2, seeds=8)[0], before)


def test_codes_alone_are_drawn_without_decoding(library: Library, small_bundle: Path) -> None:
    ours, _ = samplers(library, small_bundle)
    _, codes = ours.sample(2, seeds=8)
    assert (ours.sample(2, seeds=8, decode=False)[1]["bottom"] == codes["bottom"]).all()
    assert (ours.images == 77).all()


def test_a_filter_that_an_earlier_bundle_lacks_is_refused_where_it_is_needed(library: Library, version_3: Path) -> None:
    ours, sampler = samplers(library, version_3)
    settings = by_level(ours, {"min_p": 0.1})
    with pytest.raises(EmbeddedError, match="min_p for top: the bundle has no such filter, because an earlier"):
        ours.sample(1, seeds=1, **settings)
    settings["min_p"]["bottom"] = 0
    codes = sampler.sample(1, seeds=1, labels=[2]).codes
    images, _ = ours.sample(1, seeds=1, labels=[2], given={"top": codes["top"]}, **settings)
    np.testing.assert_array_equal(images, sampler.sample(1, seeds=1, labels=[2]).images)
