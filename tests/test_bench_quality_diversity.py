"""`latentloop bench samples --judge`: settings compared by a second classifier, on the samples of the sampler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_bundles import read_class_folders, write_class_folders, write_square_bundle
from command_line import run
from random_models import plain_weights, random_classifier

from latentloop import Bundle, Sampler, sample_best
from latentloop.bench.figures.result_files import read_result
from latentloop.bench.quality import diversity
from latentloop.bench.quality.diversity import _best
from latentloop.bench.quality.frechet import frechet_distance
from latentloop.bench.quality.neighbours import precision_recall
from latentloop.bench.report import comparison
from latentloop.evaluation.selection import interleaved
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.data.pixels import to_signed
from latentloop.export.models.classifier import Classifier

HELD_OUT, SEED = 19, 7  # more than a batch
CONFIG = ClassifierConfig(height=16, width=16, classes=3, channels=8, stages=2, groups=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with bundles without and with a classifier, data, and a judge."""
    folder = tmp_path_factory.mktemp("diversity")
    write_square_bundle(folder / "plain", classifier=False)
    write_square_bundle(folder / "with-classifier", classifier=True)
    write_class_folders(folder / "data", training=6, held_out=HELD_OUT)
    save_judge(folder / "judge.safetensors", CONFIG)
    return folder


def save_judge(path: Path, config: ClassifierConfig, seed: int = 5, classes: tuple[str, ...] = ()) -> Path:
    model = random_classifier(config, seed)
    provenance = {"classes": list(classes)} if classes else {}
    save_checkpoint(path, Checkpoint(config, plain_weights(model), provenance))
    return path


@pytest.fixture
def command(folder: Path) -> tuple[object, ...]:
    options = (
        "--bundle",
        folder / "with-classifier",
        "--data",
        folder / "data",
        "--judge",
        folder / "judge.safetensors",
    )
    return ("bench", "samples", *options, "--seed", SEED, "--threads", 1)


def test_the_figures_are_the_judges_of_the_samplers_samples(
    folder: Path, command: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "diversity.json"
    sweeps = ("--keep", "1,0.3", "--temperature", "0.5,1", "--min-p", "0.2")
    assert run(*command, *sweeps, "--out", out, "--plots", tmp_path) == 0
    result = read_result(out, "diversity")
    text = capsys.readouterr().out
    assert text == diversity.table(result) + "\n"
    assert {path.name for path in tmp_path.glob("*.png")} == {"diversity-recall.png", "diversity-accuracy.png"}
    model = random_classifier(CONFIG, 5).eval()
    images, labels = read_class_folders(folder / "data" / "test")
    sampler = Sampler(Bundle.open(folder / "with-classifier"), "cpu", threads=1)
    wanted = interleaved(labels)

    def judged(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            logits, features = model(to_signed(torch.from_numpy(pixels)))
        return logits.argmax(1).numpy(), features.double().numpy()

    real = judged(images)[1]
    curves = {curve["setting"]: curve["points"] for curve in result["curves"]}
    assert list(curves) == ["keep", "temperature", "min_p"]
    n = HELD_OUT
    expected = {
        ("keep", 1.0): sampler.sample(n, labels=wanted, seeds=SEED),
        ("keep", 0.3): sample_best(sampler, n, keep=0.3, labels=wanted, seeds=SEED).samples,
        ("temperature", 0.5): sampler.sample(n, labels=wanted, seeds=SEED, temperature=0.5),
        ("temperature", 1.0): sampler.sample(n, labels=wanted, seeds=SEED),
        ("min_p", 0.2): sampler.sample(n, labels=wanted, seeds=SEED, min_p=0.2),
    }
    points = {(setting, point["value"]): point for setting, each in curves.items() for point in each}
    assert points.keys() == expected.keys()
    for key, samples in expected.items():
        predicted, features = judged(samples.images)
        point = points[key]
        assert point["accuracy"] == pytest.approx((predicted == wanted).mean())
        assert (point["precision"], point["recall"]) == pytest.approx(precision_recall(real, features))
        assert point["frechet_distance"] == pytest.approx(frechet_distance(real, features), rel=1e-6)
    assert [point["drawn"] for point in curves["keep"]] == [n, 24 + 20 + 20]
    assert "keep 0.3: recall" in comparison.table(comparison.compare(result, result))


@pytest.mark.parametrize("counts", [(4, 4, 4), (5, 2, 1)])
def test_candidates_that_are_shared_are_those_of_sample_best(folder: Path, counts: tuple[int, ...]) -> None:
    """With other numbers of each class the candidates of two fractions are not the same ones."""
    sampler = Sampler(Bundle.open(folder / "with-classifier"), "cpu", threads=1)
    labels = interleaved(np.repeat(np.arange(3), counts))
    fractions = (1.0, 0.25, 0.5, 0.3)
    for fraction, (value, samples, drawn, _) in zip(fractions, _best(sampler, fractions, labels, 3), strict=True):
        alone = sample_best(sampler, len(labels), keep=fraction, labels=labels, seeds=3)
        assert value == fraction
        assert drawn == alone.candidates
        assert np.array_equal(samples.seeds, alone.samples.seeds)
        assert np.array_equal(samples.images, alone.samples.images)


def test_judges_that_do_not_fit(
    folder: Path, command: tuple[object, ...], tmp_path: Path, fails: Callable[..., str]
) -> None:
    def refusal(judge: Path) -> str:
        return fails(2, *command, "--keep", "1,0.5", "--judge", judge)

    other_size = ClassifierConfig(height=32, width=16, classes=3, channels=8, stages=2, groups=2)
    assert "images of 32 x 16 x 3, the bundle's are 16 x 16 x 3" in refusal(
        save_judge(tmp_path / "a.safetensors", other_size)
    )
    fewer = ClassifierConfig(height=16, width=16, classes=2, channels=8, stages=2, groups=2)
    assert "expected the bundle's 3" in refusal(save_judge(tmp_path / "b.safetensors", fewer))
    assert "expected the bundle's 3" in refusal(save_judge(tmp_path / "c.safetensors", CONFIG, classes=("x", "y", "z")))


def test_files_that_hold_no_judge(
    folder: Path, command: tuple[object, ...], tmp_path: Path, fails: Callable[..., str]
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((folder / "judge.safetensors").read_bytes()[:5000])
    vqvae = Path(__file__).parents[1] / "export" / "recipes" / "planets" / "vqvae.safetensors"
    found = {
        tmp_path: f"cannot read {tmp_path}: Is a directory",
        tmp_path / "absent.safetensors": f"cannot read {tmp_path / 'absent.safetensors'}: No such file or directory",
        cut: f"{cut} is cut short",
        vqvae: f"{vqvae} holds a VQ-VAE, expected a classifier",
        folder / "with-classifier" / "classifier.onnx": "classifier.onnx is a model in ONNX",
    }
    for file, text in found.items():
        message = fails(1, *command, "--keep", "1,0.5", "--judge", file)
        assert text in message
        assert "--judge takes a checkpoint that `latentloop train classifier` wrote" in message


def test_the_bundles_own_classifier_is_no_judge(folder: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    own = ClassifierConfig(height=16, width=16, classes=3, channels=4, stages=2, groups=2)
    torch.manual_seed(0)  # as in ``write_square_bundle``
    judge = tmp_path / "own.safetensors"
    save_checkpoint(judge, Checkpoint(own, plain_weights(Classifier(own))))
    options = ("--bundle", folder / "with-classifier", "--data", folder / "data", "--judge", judge)
    assert "is the bundle's classifier" in fails(2, "bench", "samples", *options, "--keep", "0.5")


def test_a_bundle_without_a_classifier_can_be_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--bundle", folder / "plain", "--data", folder / "data", "--judge", folder / "judge.safetensors")
    assert run("bench", "samples", *options, "--temperature", "0.5,1", "--threads", 1) == 0
    assert "| temperature | 0.5 |" in capsys.readouterr().out


def test_wrong_uses(folder: Path, command: tuple[object, ...], tmp_path: Path, fails: Callable[..., str]) -> None:
    data = ("bench", "samples", "--data", folder / "data", "--bundle")
    assert "latentloop train classifier" in fails(2, *data, folder / "with-classifier", "--keep", "1,0.5")
    plain = (*data, folder / "plain", "--judge", folder / "judge.safetensors")
    assert "has no classifier" in fails(2, *plain, "--keep", "1,0.5")
    for keep in ("0", "1.5", "nan", "x", "1,,0.5"):
        assert "fraction" in fails(2, *command, "--keep", keep)
    assert "temperature" in fails(2, *command, "--temperature", "0,1")
    assert "min_p" in fails(2, *command, "--min-p", "2")
    assert "defaults" in fails(2, *command, "--keep", "0.5", "--temperature", "0.7")
    assert "--picture" in fails(2, *command, "--keep", "0.5", "--picture", tmp_path / "a.png")
    assert "are compared" in fails(2, *command)
    assert "expected at least 4" in fails(2, *command, "--keep", "0.5", "--samples", 3)
