"""A second classifier that judges samples, and has chosen none of them: a checkpoint of ``latentloop train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop import Sampler
from latentloop.cli.progress import parts
from latentloop.errors import CheckpointError, InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.data.pixels import to_signed
from latentloop.export.layouts.reading import read_classifier
from latentloop.export.models.build import build_classifier
from latentloop.export.models.classifier import Classifier
from latentloop.export.onnx_classifiers.model import is_onnx

SAME = 1e-2  # of probabilities: those of a bundle's classifier differ less from its checkpoint's, which may be rounded


class Judge:
    """A classifier in PyTorch; ``description`` says which, as plain JSON types."""

    def __init__(self, model: Classifier, description: dict[str, Any]) -> None:
        self._model, self.description = model, description

    @staticmethod
    def open(path: Path, sampler: Sampler, images: NDArray[np.uint8], threads: int) -> Judge:
        """Returns the classifier of a checkpoint, for the images of a sampler's bundle, such as ``images``.

        Raises CheckpointError if it cannot be read or is none, InputError if it is for other images or classes, or is
        the bundle's own.
        """
        manifest, checkpoint = sampler.bundle.manifest, _read(path)
        config = checkpoint.config
        assert isinstance(config, ClassifierConfig)
        shape = (config.height, config.width, config.image_channels)
        if shape != manifest.image:
            sizes = (" x ".join(map(str, each)) for each in (shape, manifest.image))
            raise InputError("{} accepts images of {}, the bundle's are {}: train it for these".format(path, *sizes))
        names = tuple(checkpoint.provenance.get("classes") or ())
        if config.classes != len(manifest.classes) or (names and names != manifest.classes):
            raise InputError(
                f"{path} knows the classes {', '.join(names) or config.classes}, expected the bundle's "
                f"{len(manifest.classes)}: {', '.join(manifest.classes)}"
            )
        torch.set_num_threads(threads)
        description = {"file": path.name, "channels": config.channels, "seed": _seed(checkpoint.provenance)}
        judge = Judge(build_classifier(checkpoint, path), description)
        if manifest.classifier is not None:
            few = images[:64]
            difference = np.abs(judge.probabilities(few) - sampler.classify(few).probabilities).max()
            if difference < SAME:
                raise InputError(
                    f"{path} is the bundle's classifier, which may have chosen the samples: train another one, with "
                    "`latentloop train classifier --seed 2` and another number of --channels"
                )
        return judge

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 [N, H, W, C] -> the probability of every class, float32 [N, classes]."""
        with torch.no_grad():
            values: NDArray[np.float32] = self._model(to_signed(torch.from_numpy(images)))[0].softmax(1).numpy()
        return values

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Images uint8 [N, H, W, C] -> the most probable class of each, int64 [N], and features, float64 [N, F]."""
        classes, features = [], []
        with torch.no_grad():
            for part in parts(len(images), "judge"):
                logits, values = self._model(to_signed(torch.from_numpy(images[part])))
                classes.append(logits.argmax(1).numpy())
                features.append(values.double().numpy())
        return np.concatenate(classes), np.concatenate(features)


def _read(path: Path) -> Checkpoint:
    """Reads the checkpoint of a classifier. Raises CheckpointError."""
    expected = "--judge takes a checkpoint that `latentloop train classifier` wrote"
    if is_onnx(path):
        raise CheckpointError(f"{path} is a model in ONNX; {expected}: train one on the same images")
    try:
        return read_classifier(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error} ({expected})") from error


def _seed(provenance: dict[str, Any]) -> Any:
    training = provenance.get("training")
    return training.get("seed") if isinstance(training, dict) else None
