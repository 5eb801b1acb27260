"""What a bundle says of itself, and representations on one line without arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_arrays import put_interface
from gpu_machines import Machines

from latentloop import Bundle, LevelInfo, Progress, Sampler, sample_best
from latentloop.kernels import Codebook, nearest_codebook


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


def test_a_bundle_describes_its_model(bundle: Bundle, grey_bundle: Path) -> None:
    assert bundle.image_shape == (32, 48, 3)
    assert bundle.levels == (LevelInfo("top", 4, 6, 11, True), LevelInfo("bottom", 8, 12, 11, True))
    assert bundle.classes == ("coat", "bag", "boot")
    assert (bundle.precisions, bundle.has_classifier) == (("float32", "int8"), True)
    grey = Bundle.open(grey_bundle)
    assert (grey.image_shape, grey.classes, grey.has_classifier) == ((16, 16, 1), (), False)
    assert [level.has_prior for level in grey.levels] == [False, False]


def test_the_description_fits_the_arrays(bundle: Bundle) -> None:
    samples = Sampler(bundle, threads=1).sample(2, seeds=1)
    assert samples.images.shape == (2, *bundle.image_shape)
    for level in bundle.levels:
        assert samples.codes[level.name].shape == (2, level.height, level.width)
        assert samples.codes[level.name].max() < level.codebook_size


def test_a_bundle_can_be_made_by_its_class_too(small_bundle: Path) -> None:
    assert Bundle(str(small_bundle)).levels == Bundle.open(small_bundle).levels


def test_representations(bundle: Bundle) -> None:
    sampler = Sampler(bundle, "cpu", threads=1)
    path = repr(str(bundle.path))
    shown = "images 32 x 48 x 3, levels top 4 x 6, bottom 8 x 12, 3 classes, float32, int8"
    assert repr(bundle) == f"<Bundle {path}: {shown}>"
    assert repr(sampler) == f"<Sampler of {path}: cpu, 1 thread, float32>"
    samples = sampler.sample(4, seeds=[7, 3, 5, 9], labels=[0, 1, 1, 0])
    shown = "images [4, 32, 48, 3], codes top [4, 4, 6], bottom [4, 8, 12]"
    assert repr(samples) == f"<Samples: {shown}, seeds 7, 3, 5, 9, labels 0, 1, 1, 0>"
    given = {name: values[:1].repeat(40, 0) for name, values in samples.codes.items()}
    many = sampler.sample(40, seeds=1, labels=2, given=given)
    assert repr(many).endswith("seeds 1, 2, 3, 4, … 40, labels 2, 2, 2, 2, … 2>")
    cancelled = sampler.sample(1, seeds=1, callback=lambda _: False)
    assert repr(cancelled).endswith("bottom [0, 8, 12], seeds none, labels none, cancelled>")
    best = sample_best(sampler, 1, keep=0.5, seeds=1)
    assert repr(best) == f"<Selection: 1 of 2 candidates, {best.samples}>"
    assert repr(sampler.classify(samples.images)) == "<Classification: probabilities [4, 3], features [4, 8]>"


def test_the_representation_of_progress_has_no_codes(bundle: Bundle) -> None:
    reports: list[Progress] = []
    Sampler(bundle, threads=1).sample(2, seeds=1, callback=reports.append)
    assert repr(reports[1]) == "Progress(level='top', rows_done=2, rows_total=4, images_done=0, images_total=2)"


def test_a_search_is_shown_by_its_shapes() -> None:
    codebook = Codebook(np.eye(5, 3, dtype=np.float32))
    z = np.zeros((2, 7, 3), np.float32)
    assert repr(codebook) == "<Codebook: 5 codewords of 3 dimensions>"
    assert repr(nearest_codebook(z, codebook)) == "<Nearest: index [2, 7], 0 invalid>"
    full = nearest_codebook(z, codebook, distance=True, codeword=True)
    assert repr(full) == "<Nearest: index [2, 7], distance [2, 7], codeword [2, 7, 3], 0 invalid>"


def test_a_sampler_of_a_gpu_is_shown_after_a_fork(small_engines: Path, machines: Machines, monkeypatch: Any) -> None:
    machines(seed=1)
    sampler = Sampler(Bundle.open(small_engines), "tensorrt", threads=2)
    expected = repr(sampler)
    assert expected.endswith("tensorrt:0, 2 threads, float32>")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert repr(sampler) == expected


def test_representations_are_one_line_whatever_the_path(small_bundle: Path, tmp_path: Path) -> None:
    linked = tmp_path / "two\nlines"
    linked.symlink_to(small_bundle)
    assert "two\\nlines" in repr(Bundle.open(linked))
    assert len(repr(Sampler(Bundle.open(linked), threads=1)).splitlines()) == 1


def test_an_array_on_a_gpu_is_shown_by_its_shape(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=2)
    images = np.zeros((2, 32, 48, 3), np.uint8)
    codes = Sampler(Bundle.open(small_engines), "cuda").encode_on_gpu(put_interface(driver, images))
    assert repr(codes["top"]) == "<DeviceArray: int64 [2, 4, 6] on cuda:0>"


def test_a_codebook_has_its_codewords() -> None:
    codewords = np.eye(5, 3, dtype=np.float32)
    codebook = Codebook(codewords)
    assert (codebook.size, codebook.dimensions) == (5, 3)
    np.testing.assert_array_equal(codebook.codewords, codewords)
    with pytest.raises(ValueError, match="read-only"):
        codebook.codewords[0, 0] = 1
