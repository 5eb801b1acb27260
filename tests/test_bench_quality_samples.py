"""`latentloop bench samples`: its figures are those that the sampler's own methods give."""

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
from latentloop.bench.quality import sample_report
from latentloop.bench.quality.frechet import frechet_distance
from latentloop.bench.quality.neighbours import precision_recall
from latentloop.bench.report import comparison
from latentloop.bench.report.result_files import read_result

TRAINING, HELD_OUT = 24, 19  # more than a batch


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One without a classifier, one with."""
    folder = tmp_path_factory.mktemp("bundles")
    write_square_bundle(folder / "plain", classifier=False)
    write_square_bundle(folder / "judged", classifier=True)
    return folder / "plain", folder / "judged"


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
    shown = capsys.readouterr().out
    found = read_result(out, "samples")
    assert found["images"] == HELD_OUT  # no more samples than there are held-out images
    sampler = Sampler(Bundle.open(bundles[1]), threads=1)
    images, labels = read_class_folders(data / "test")
    samples = sampler.sample(HELD_OUT, seeds=7, temperature={"top": 0.9}, batch_size=16)
    codes = sampler.encode(images)
    decoded = sampler.decode(codes)

    errors = np.square(images.astype(float) - decoded).reshape(HELD_OUT, -1).mean(1)
    of = found["reconstruction"]
    assert of["mse"] == pytest.approx(errors.mean(), rel=1e-4)
    assert of["mean_psnr"] == pytest.approx((10 * np.log10(255**2 / errors)).mean(), rel=1e-4)
    assert of["psnr_of_mean_mse"] == pytest.approx(10 * math.log10(255**2 / errors.mean()), rel=1e-4)
    assert of["classes"]["lava"]["mse"] == pytest.approx(errors[labels == 1].mean(), rel=1e-4)

    logp = sampler.log_likelihood(codes, labels)
    for level in found["levels"]:
        name = level["name"]
        assert level["codes_used"] == len(np.unique(codes[name]))
        assert level["bits_per_code"] == pytest.approx(-logp[name].mean() / math.log(2), rel=1e-4)
    total = -sum(values.sum() for values in logp.values()) / math.log(2) / HELD_OUT
    assert found["bits_per_image"] == pytest.approx(total, rel=1e-4)
    assert found["bits_per_value"] == pytest.approx(total / (16 * 16 * 3), rel=1e-4)

    judged, real = sampler.classify(samples.images), sampler.classify(images)
    confusion = found["recognition"]["samples"]["confusion"]
    assert [sum(row) for row in confusion] == [7, 6, 6]
    right = judged.probabilities.argmax(1) == np.arange(HELD_OUT) % 3
    assert found["recognition"]["samples"]["accuracy"] == pytest.approx(right.mean())
    right = sampler.classify(decoded).probabilities.argmax(1) == labels
    assert found["recognition"]["reconstructions"]["accuracy"] == pytest.approx(right.mean())
    right = real.probabilities.argmax(1) == labels
    assert found["recognition"]["held_out"]["accuracy"] == pytest.approx(right.mean())
    of = found["likeness"]
    assert of["samples"]["frechet_distance"] == pytest.approx(frechet_distance(real.features, judged.features), 1e-3)
    expected = precision_recall(real.features.astype(float), judged.features.astype(float))
    assert (of["samples"]["precision"], of["samples"]["recall"]) == expected
    assert set(of) == {"samples", "reconstructions", "training"}

    training, _ = read_class_folders(data / "train")
    features = sampler.classify(training).features
    nearest = np.linalg.norm(features - judged.features[0], axis=1).argsort()[:3]
    assert found["neighbours"][0]["features"]["indices"] == nearest.tolist()
    assert [row["class"] for row in found["neighbours"][:3]] == list(NAMES)
    assert pixels(picture).shape[:2] == (8 * 130 - 2, 7 * 128 + 2 * 12 + 4 * 2)

    for text in ("seeds 7 to 25, temperature top 0.9", "training images, for comparison", "| lava |", "bits per code"):
        assert text in shown
    assert (tmp_path / "samples-accuracy.png").read_bytes().startswith(b"\x89PNG")
    better = json.loads(json.dumps(found))
    better["likeness"]["samples"]["precision"] = 1.5 * found["likeness"]["samples"]["precision"] + 1
    rows = {row["name"]: row["verdict"] for row in comparison.compare(found, better)["rows"]}
    assert rows["samples: precision"] == "better"
    assert rows["samples: accuracy"] == "within the spread"


def test_without_a_classifier(bundles: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--bundle", bundles[0], "--data", data, "--samples", 9, "--threads", 1)
    assert run("bench", "samples", *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["recognition"], found["likeness"]) == (9, None, None)
    assert list(found["novelty"]) == ["pixels"]
    assert "The bundle has no classifier" in sample_report.table(found)
    assert comparison.compare(found, found)["only_before"] == []


def test_data_that_does_not_fit(
    bundles: tuple[Path, Path], data: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    command = ("bench", "samples", "--threads", 1, "--bundle", bundles[0])
    assert "3 images of each kind to compare" in fails(2, *command, "--data", data, "--samples", 3)
    assert "expected one of .png" in fails(2, *command, "--data", data, "--picture", tmp_path / "neighbours.txt")
    for name in ("ice", "lava"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("RGB", (16, 16)).save(tmp_path / name / f"{index}.png")
    assert "2 classes, but the bundle has 3" in fails(2, *command, "--data", tmp_path)
