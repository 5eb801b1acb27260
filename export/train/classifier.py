"""Training of the image classifier by cross-entropy with label smoothing.

Label smoothing keeps the probabilities away from 1, so they still rank the samples of which the classifier is certain.
The average of the weights over the steps is evaluated and saved.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.data.datasets import Data, Dataset
from latentloop.export.data.pixels import to_signed
from latentloop.export.evaluation import classification_metrics
from latentloop.export.models.classifier import Classifier
from latentloop.export.train.network_task import NetworkTask
from latentloop.export.train.optimisation.precision import mixed_precision, set_layout
from latentloop.export.train.optimisation.schedule import step_seed
from latentloop.export.train.options import ClassifierOptions
from latentloop.export.train.run.saving import save_trained, training_provenance
from latentloop.export.train.run.training_inputs import load_dataset, rename_classes
from latentloop.export.train.run.training_loop import run_training
from latentloop.export.train.run.training_options import from_arguments, loop_options, prepare


class ClassifierTask(NetworkTask[Classifier]):
    """A classifier in training."""

    def __init__(
        self, config: ClassifierConfig, data: Dataset, options: ClassifierOptions, device: str = "cpu"
    ) -> None:
        assert data.labels is not None
        super().__init__(Classifier, config, len(data), options, device, clip=options.clip)
        self.options = options
        self.images = torch.from_numpy(np.ascontiguousarray(data.images)).to(device)
        self.labels = torch.from_numpy(data.labels).to(device)

    def step(self, step: int) -> Tensor:
        """Runs one step; returns its loss."""
        options, model = self.options, self.model
        generator = torch.Generator().manual_seed(step_seed(options.seed, step, purpose=1))
        indices = self.order(step).to(self.device)
        images = to_signed(augment(self.images[indices], generator, flip=options.flip, shift=options.shift))
        with mixed_precision(self.device, options.precision):
            logits, _ = model(set_layout(images, options.precision))
        loss = functional.cross_entropy(logits.float(), self.labels[indices], label_smoothing=options.label_smoothing)
        self.updates.apply(step, loss)
        return loss.detach()


def augment(images: Tensor, generator: torch.Generator, *, flip: bool, shift: int) -> Tensor:
    """Augments images [N, H, W, C]: with ``flip`` mirrors each with probability 1/2; translates each by up to ``shift``
    pixels along both axes, with the pixels at the border repeated.
    """
    if not flip and not shift:
        return images
    n, height, width, _ = images.shape
    offsets = torch.randint(-shift, shift + 1, (2, n, 1), generator=generator)
    mirrored = (torch.rand((n, 1), generator=generator) < 0.5) & flip
    rows = (torch.arange(height) + offsets[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + offsets[1]).clamp(0, width - 1)
    columns = torch.where(mirrored, columns.flip(1), columns)
    samples = torch.arange(n)[:, None, None]
    index = (indices.to(images.device) for indices in (samples, rows[:, :, None], columns[:, None, :]))
    return images[tuple(index)]


def train_classifier(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves a classifier; returns its held-out metrics. Raises LatentLoopError."""
    device = prepare(arguments)
    options = from_arguments(ClassifierOptions, arguments)
    data = _load_labelled(arguments)
    config = from_arguments(
        ClassifierConfig,
        arguments,
        height=arguments.size,
        width=arguments.size,
        classes=len(data.classes),
        image_channels=data.image_channels,
    )
    task = ClassifierTask(config, data.training, options, device)
    loop = loop_options(arguments, config, asdict(options), data)
    force = run_training(task, loop)
    averaged = task.averaged()
    metrics = classification_metrics(averaged, data.held_out, data.classes, device)
    sample = classification_metrics(averaged, data.training.take(data.training_sample), data.classes, device)
    provenance = training_provenance(arguments, data, asdict(options), metrics, sample)
    save_trained(loop, averaged, provenance, force=force)
    return metrics


def _load_labelled(arguments: argparse.Namespace) -> Data:
    data = load_dataset(arguments, arguments.size, arguments.image_channels)
    if not data.classes:
        raise InputError(f"{arguments.data}: has no labels; expected one sub-folder of images per class")
    return rename_classes(data, arguments.class_names)
