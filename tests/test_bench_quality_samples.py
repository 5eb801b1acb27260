"""`latentloop bench samples`: its figures, compared with figures computed from the sampler's methods."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench_bundles import NAMES, read_class_folders, write_class_folders, write_square_bundle
from command_line import pixels, run
from PIL import Image

from latentloop import Bundle, Sampler
from latentloop.bench.figures.result_files import read_result
from latentloop.bench.quality import sample_report
from latentloop.bench.quality.frechet import frechet_distance
from latentloop.bench.quality.neighbours import precision_recall
from latentloop.bench.report import comparison

TRAINING, HELD_OUT = 24, 19  # more than a batch


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Returns a bundle without a classifier, and one with."""
    folder = tmp_path_factory.mktemp("bundles")
    write_square_bundle(folder / "plain", classifier=False)
    write_square_bundle(folder / "with-classifier", classifier=True)
    return folder / "plain", folder / "with-classifier"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "planets"
    write_class_folders(folder, training=TRAINING, held_out=HELD_OUT)
    return folder


def test_figures(bundles: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "samples.json", tmp_path / "neighbours.png"
    options = ("--bundle", bundles[1], "--data", data, "--samples", 100, "--seed", 7, "--temperature", "top=0.9")
    command = ("bench", "samples", *options, "--threads", 1, "--out", out, "--picture", picture)
    assert run(*command, "--plots", tmp_path) == 0
    text = capsys.readouterr().out
    result = read_result(out, "samples")
    assert result["images"] == HELD_OUT  # as many samples as held-out images
    sampler = Sampler(Bundle.open(bundles[1]), threads=1)
    images, labels = read_class_folders(data / "test")
    samples = sampler.sample(HELD_OUT, seeds=7, temperature={"top": 0.9}, batch_size=16)
    codes = sampler.encode(images)
    decoded = sampler.decode(codes)

    errors = np.square(images.astype(float) - decoded).reshape(HELD_OUT, -1).mean(1)
    reconstruction = result["reconstruction"]
    assert reconstruction["mse"] == pytest.approx(errors.mean(), rel=1e-4)
    assert reconstruction["mean_psnr"] == pytest.approx((10 * np.log10(255**2 / errors)).mean(), rel=1e-4)
    assert reconstruction["psnr_of_mean_mse"] == pytest.approx(10 * math.log10(255**2 / errors.mean()), rel=1e-4)
    assert reconstruction["classes"]["lava"]["mse"] == pytest.approx(errors[labels == 1].mean(), rel=1e-4)

    logp = sampler.log_likelihood(codes, labels)
    for level in result["levels"]:
        name = level["name"]
        assert level["codes_used"] == len(np.unique(codes[name]))
        assert level["bits_per_code"] == pytest.approx(-logp[name].mean() / math.log(2), rel=1e-4)
    total = -sum(values.sum() for values in logp.values()) / math.log(2) / HELD_OUT
    assert result["bits_per_image"] == pytest.approx(total, rel=1e-4)
    assert result["bits_per_value"] == pytest.approx(total / (16 * 16 * 3), rel=1e-4)

    generated, real = sampler.classify(samples.images), sampler.classify(images)
    recognition = result["recognition"]
    assert [sum(row) for row in recognition["samples"]["confusion"]] == [7, 6, 6]
    correct = generated.probabilities.argmax(1) == np.arange(HELD_OUT) % 3
    assert recognition["samples"]["accuracy"] == pytest.approx(correct.mean())
    correct = sampler.classify(decoded).probabilities.argmax(1) == labels
    assert recognition["reconstructions"]["accuracy"] == pytest.approx(correct.mean())
    correct = real.probabilities.argmax(1) == labels
    assert recognition["held_out"]["accuracy"] == pytest.approx(correct.mean())
    likeness = result["likeness"]["samples"]
    assert likeness["frechet_distance"] == pytest.approx(frechet_distance(real.features, generated.features), 1e-3)
    expected = precision_recall(real.features.astype(float), generated.features.astype(float))
    assert (likeness["precision"], likeness["recall"]) == expected
    assert set(result["likeness"]) == {"samples", "reconstructions", "training"}

    training, _ = read_class_folders(data / "train")
    features = sampler.classify(training).features
    nearest = np.linalg.norm(features - generated.features[0], axis=1).argsort()[:3]
    assert result["neighbours"][0]["features"]["indices"] == nearest.tolist()
    assert [row["class"] for row in result["neighbours"][:3]] == list(NAMES)
    assert pixels(picture).shape[:2] == (8 * 130 - 2, 7 * 128 + 2 * 12 + 4 * 2)

    for line in ("seeds 7 to 25, temperature top 0.9", "training images, for comparison", "| lava |", "bits per code"):
        assert line in text
    assert (tmp_path / "samples-accuracy.png").read_bytes().startswith(b"\x89PNG")
    better = json.loads(json.dumps(result))
    better["likeness"]["samples"]["precision"] = 1.5 * likeness["precision"] + 1
    rows = {row["name"]: row["verdict"] for row in comparison.compare(result, better)["rows"]}
    assert rows["samples: precision"] == "better"
    assert rows["samples: accuracy"] == "within the spread"


def test_without_a_classifier(bundles: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--bundle", bundles[0], "--data", data, "--samples", 9, "--threads", 1)
    assert run("bench", "samples", *options, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["recognition"], result["likeness"]) == (9, None, None)
    assert list(result["novelty"]) == ["pixels"]
    assert "The bundle has no classifier" in sample_report.table(result)
    assert comparison.compare(result, result)["only_before"] == []


def test_data_that_does_not_match_the_bundle(
    bundles: tuple[Path, Path], data: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    command = ("bench", "samples", "--threads", 1, "--bundle", bundles[0])
    assert "3 images of each kind to compare" in fails(2, *command, "--data", data, "--samples", 3)
    assert "error: 1 image of each kind to compare" in fails(2, *command, "--data", data, "--samples", 1)
    assert "expected one of .png" in fails(2, *command, "--data", data, "--picture", tmp_path / "neighbours.txt")
    for name in ("ice", "lava"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("RGB", (16, 16)).save(tmp_path / name / f"{index}.png")
    assert "2 classes, but the bundle has 3" in fails(2, *command, "--data", tmp_path)
