"""Training of the classifier: learning, metrics, augmentation, resumed runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import parse

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.commands import train
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.data.datasets import Dataset
from latentloop.export.evaluation import classification_metrics
from latentloop.export.models.build import build_classifier
from latentloop.export.train.classifier import ClassifierTask, augment, train_classifier
from latentloop.export.train.options import ClassifierOptions

TINY = ClassifierConfig(height=12, width=12, classes=3, image_channels=1, channels=8, stages=2, groups=2)
COMMAND = (
    "classifier --size 12 --image-channels 1 --channels 8 --stages 2 --groups 2 --batch 12 --lr 0.01 --average 0.9"
    " --held-out 0.2 --threads 1 --json"
)


def shapes(count: int) -> Dataset:
    """Noisy images 12 x 12 of a column (0), a row (1) or a diagonal (2) at a random position."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.integers(0, 60, (count, 12, 12, 1), dtype=np.uint8)
    for image, label in zip(images[..., 0], labels, strict=True):
        position = int(rng.integers(2, 10))
        bright = np.eye(12, k=position - 6, dtype=bool) if label == 2 else np.zeros((12, 12), bool)
        if label < 2:
            bright[(slice(None), position) if label == 0 else (position, slice(None))] = True
        image[bright] = 200
    return Dataset(images, labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images in three classes."""
    path = tmp_path_factory.mktemp("shapes")
    data = shapes(60)
    assert data.labels is not None
    for index, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        (path / "abc"[label]).mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path / "abc"[label] / f"{index:02}.png")
    return path


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_classifier_learns(precision: str) -> None:
    data = shapes(360)
    part = np.arange(300)
    options = ClassifierOptions(60, 30, 1e-2, average=0.9, precision=precision)
    task = ClassifierTask(TINY, data.take(part), options)
    for step in range(options.steps):
        loss = task.step(step)
    assert float(loss) < 0.6  # log 3 = 1.1 at first; label smoothing limits it to 0.3
    metrics = classification_metrics(task.averaged(), data.take(np.arange(300, 360)), ("a", "b", "c"))
    assert metrics["accuracy"] > 0.95


def test_metrics_equal_a_numpy_reference() -> None:
    torch.manual_seed(0)
    model = ClassifierTask(TINY, shapes(6), ClassifierOptions(1)).model.eval()
    data = shapes(300)
    assert data.labels is not None
    metrics = classification_metrics(model, data, ("a", "b", "c", "absent"))
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(data.images).permute(0, 3, 1, 2) / 127.5 - 1)
    p = torch.softmax(logits.double(), 1).numpy()
    is_correct = p.argmax(1) == data.labels
    assert metrics["accuracy"] == pytest.approx(is_correct.mean())
    assert metrics["accuracy_by_class"] == {name: is_correct[data.labels == i].mean() for i, name in enumerate("abc")}
    assert metrics["cross_entropy"] == pytest.approx(-np.log(p[range(300), data.labels]).mean())


def test_augmentation_mirrors_and_translates_with_a_repeated_border() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 5, 7, 2), dtype=np.uint8))
    augmented = augment(images, torch.Generator().manual_seed(0), flip=True, shift=2).numpy()
    seen = set()
    for image, result in zip(images.numpy(), augmented, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        matching = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            if np.array_equal(result, padded[top : top + 5, left : left + 7][:, :: -1 if flip else 1])
        ]
        assert len(matching) == 1
        seen.add(matching[0])
    assert len(seen) > 25
    assert torch.equal(augment(images, torch.Generator().manual_seed(0), flip=False, shift=0), images)
    only_mirrored = augment(images, torch.Generator().manual_seed(0), flip=True, shift=0)
    sides = {
        (torch.equal(new, old), torch.equal(new, old.flip(1))) for new, old in zip(only_mirrored, images, strict=True)
    }
    assert sides == {(True, False), (False, True)}
    only_translated = augment(images, torch.Generator().manual_seed(0), flip=False, shift=2)
    for new, old in zip(only_translated.numpy(), images.numpy(), strict=True):
        padded = np.pad(old, ((2, 2), (2, 2), (0, 0)), mode="edge")
        windows = [padded[top : top + 5, left : left + 7] for top in range(5) for left in range(5)]
        assert any(np.array_equal(new, window) for window in windows)


def test_a_resumed_run_is_bit_identical(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{COMMAND} --steps 9 --flip --shift 1 --licence CC0-1.0 --class-names=x,y,z"
    assert train.run(parse(command, data=folder, out=tmp_path / "whole.safetensors")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["accuracy_by_class"]) == {"x", "y", "z"}
    original = ClassifierTask.step

    def stop_at(self: Any, step: int) -> torch.Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(ClassifierTask, "step", stop_at)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(parse(f"{command} --save-every 2", data=folder, out=tmp_path / "resumed.safetensors"))
    torch.manual_seed(99)  # the result must not depend on the global generator
    metrics = train_classifier(parse(f"{command} --save-every 2", data=folder, out=tmp_path / "resumed.safetensors"))
    assert metrics == printed
    first, second = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed"))
    for key, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[key], err_msg=key)
    assert first.provenance == second.provenance
    assert first.provenance["classes"] == ["x", "y", "z"]
    assert first.provenance["held_out"] == printed
    assert first.provenance["licence"] == "CC0-1.0"
    build_classifier(first, "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--label-smoothing 1", "label-smoothing is 1.0, expected at least 0, under 1"),
        ("--shift -1", "shift is -1, expected at least 0 pixels"),
        ("--channels 7", "channels is 7, expected a multiple of groups"),
        ("--class-names a,b", "class-names has 2 names, expected 3"),
        ("--class-names ,,", "class-names: label 0 is '', expected a name that no other label has"),
        ("--class-names=a,b,a", "class-names: label 2 is 'a', expected a name"),
    ],
)
def test_invalid_options(folder: Path, tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_classifier(parse(f"{COMMAND} --steps 2 {options}", data=folder, out=tmp_path / "c.safetensors"))


def test_images_without_labels_are_an_error(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.zeros((12, 12), np.uint8)).save(tmp_path / f"{index}.png")
    with pytest.raises(InputError, match="has no labels; expected one sub-folder of images per class"):
        train_classifier(parse(f"{COMMAND} --steps 2", data=tmp_path, out=tmp_path / "c.safetensors"))
