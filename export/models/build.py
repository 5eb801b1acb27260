"""Building PyTorch models from checkpoints, with checked weights."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from latentloop.errors import CheckpointError, listed
from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind, wrong_kind_error
from latentloop.export.checkpoints.code_usage import without_usage
from latentloop.export.checkpoints.lazy_arrays import arrays_of
from latentloop.export.models.classifier import Classifier
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae

Model = TypeVar("Model", bound=nn.Module)

_NETWORKS: dict[Kind, type[nn.Module]] = {"vqvae": Vqvae, "prior": PixelSnail, "classifier": Classifier}


def build_vqvae(checkpoint: Checkpoint, source: Path | str) -> Vqvae:
    """Returns the VQ-VAE in evaluation mode. Raises CheckpointError that names the file, ``source``."""
    return _build(Vqvae, "vqvae", checkpoint, source)


def build_prior(checkpoint: Checkpoint, source: Path | str) -> PixelSnail:
    """Returns one level's prior in evaluation mode. Raises CheckpointError that names the file, ``source``."""
    return _build(PixelSnail, "prior", checkpoint, source)


def build_classifier(checkpoint: Checkpoint, source: Path | str) -> Classifier:
    """Returns the classifier in evaluation mode. Raises CheckpointError that names the file, ``source``."""
    return _build(Classifier, "classifier", checkpoint, source)


def check_weights(checkpoint: Checkpoint, source: Path | str) -> None:
    """Raises one CheckpointError that lists missing and unknown tensors, wrong shapes and non-finite values.

    ``source`` names the file. Lazy weights are read one after the other.
    """
    with torch.device("meta"):  # shapes only, without memory for the weights
        model = _NETWORKS[checkpoint.kind](checkpoint.config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    problems = [f"{name} is missing, expected {list(expected[name])}" for name in without_usage(expected)
                if name not in checkpoint.weights]  # fmt: skip
    for name, array in arrays_of(checkpoint.weights).items():
        if name not in expected:
            problems.append(f"{name} {list(array.shape)} is unknown")
        elif array.shape != expected[name]:
            problems.append(f"{name} is {list(array.shape)}, expected {list(expected[name])}")
        elif array.dtype.kind != "f" or not np.isfinite(array.read()).all():
            problems.append(f"{name} holds values that are not finite numbers")
    if problems:
        text = listed(problems, "\n  ")
        raise CheckpointError(f"{source}: {len(problems)} tensors do not fit the configuration:\n  {text}")


def _build(network: type[Model], kind: Kind, checkpoint: Checkpoint, source: Path | str) -> Model:
    if checkpoint.kind != kind:
        raise wrong_kind_error(source, checkpoint.kind, kind)
    check_weights(checkpoint, source)
    model = network(checkpoint.config)
    for name, value in model.state_dict().items():  # one after the other: they can be lazy
        if name in checkpoint.weights:  # not all hold the use of the codes
            value.copy_(torch.from_numpy(checkpoint.weights[name]))
    return model.eval()
