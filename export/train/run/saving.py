"""The result of a training run: the checkpoint and its provenance."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from latentloop._version import __version__
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.configuration import AnyConfig
from latentloop.export.data.datasets import Data
from latentloop.export.train.run.training_loop import LoopOptions, finish


def training_provenance(
    arguments: argparse.Namespace, data: Data, options: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """Returns the provenance that a checkpoint stores: data, training options, held-out metrics, versions."""
    return {
        "data": data.description,
        "data_sha256": data.digest,
        "classes": list(data.classes),
        "training_images": len(data.training),
        "held_out_images": len(data.held_out),
        "size": data.training.images.shape[1],
        "training": options,
        "held_out": metrics,
        "licence": arguments.licence,
        "latentloop": __version__,
        "torch": torch.__version__,
    }


def save_trained(
    loop: LoopOptions, config: AnyConfig, model: nn.Module, provenance: dict[str, Any], *, force: bool
) -> None:
    """Writes the checkpoint and removes the state file. Raises OutputError."""
    weights = {name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()}
    checkpoint = Checkpoint(config, weights, provenance)
    finish(loop, lambda: save_checkpoint(loop.out, checkpoint, force=force))
