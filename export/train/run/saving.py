"""The result of a training run: the checkpoint and its provenance."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from latentloop._version import __version__
from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.data.datasets import Data
from latentloop.export.models.classifier import Classifier
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.run.training_loop import LoopOptions


def training_provenance(
    arguments: argparse.Namespace,
    data: Data,
    options: dict[str, Any],
    metrics: dict[str, Any],
    sample_metrics: dict[str, Any],
) -> dict[str, Any]:
    """Returns the provenance that a checkpoint stores: data, training options, metrics on the held-out images and on
    the sample of training images, versions.
    """
    return {
        "data": data.description,
        "data_sha256": data.digest,
        "classes": list(data.classes),
        "training_images": len(data.training),
        "held_out_images": len(data.held_out),
        "size": data.training.images.shape[1],
        "training": options,
        "held_out": metrics,
        "training_sample": {"images": len(data.training_sample), **sample_metrics},
        "licence": arguments.licence,
        "latentloop": __version__,
        "torch": torch.__version__,
    }


def save_trained(
    loop: LoopOptions, model: Vqvae | PixelSnail | Classifier, provenance: dict[str, Any], *, force: bool
) -> None:
    """Writes the checkpoint, then removes the state file: a run that is killed in between can be run again.

    Raises OutputError; InputError for weights that are not finite, because the last steps of the training diverged.
    """
    weights = {name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise InputError(f"{name} is not finite after step {loop.steps}: the training diverged; {loop.remedy}")
    save_checkpoint(loop.out, Checkpoint(model.config, weights, provenance), force=force)
    loop.state_file.remove()
