"""Training of the classifier of images, by cross-entropy with smoothed labels.

Smoothing keeps its probabilities away from 1, so that they still rank the samples it is sure of. What is evaluated and
saved is the average of the weights over the steps.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.models.classifier import Classifier
from latentloop.export.train.data.datasets import Data, Dataset, batches_of
from latentloop.export.train.data.order import BatchOrder, step_seed
from latentloop.export.train.data.pixels import EVALUATION_BATCH, to_signed
from latentloop.export.train.loop import runs
from latentloop.export.train.loop.loop import run_training
from latentloop.export.train.loop.optimisation import Descent
from latentloop.export.train.loop.precision import lay_out, mixed


@dataclass(frozen=True)
class ClassifierOptions:
    """Steps, images a step, peak rate and its warm-up, limit of the gradient's norm, decays of average and weights.

    ``label_smoothing`` is the share of a label's mass that goes to all classes evenly; images are mirrored at random
    with ``flip``, and moved by up to ``shift`` pixels along both axes. ``precision`` is one of ``PRECISIONS``.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    seed: int = 0
    warm_up: int = 200
    clip: float = 1.0
    average: float = 0.999
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    flip: bool = False
    shift: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label-smoothing is {self.label_smoothing}, expected at least 0, under 1")
        if self.shift < 0:
            raise InputError(f"shift is {self.shift}, expected at least 0 pixels")


class ClassifierTask:
    """A classifier in training."""

    def __init__(
        self, config: ClassifierConfig, data: Dataset, options: ClassifierOptions, device: str = "cpu"
    ) -> None:
        assert data.labels is not None
        torch.manual_seed(options.seed)
        self.options, self.device = options, device
        self.model = Classifier(config).to(device)
        lay_out(self.model, options.precision)
        self.images = torch.from_numpy(np.ascontiguousarray(data.images)).to(device)
        self.labels = torch.from_numpy(data.labels).to(device)
        self.order = BatchOrder(len(data), options.batch, options.seed)
        self.descent = Descent(
            self.model,
            steps=options.steps,
            rate=options.rate,
            warm_up=options.warm_up,
            weight_decay=options.weight_decay,
            average=options.average,
            clip=options.clip,
        )

    def step(self, step: int) -> Tensor:
        """One step; returns its loss."""
        options, model = self.options, self.model
        generator = torch.Generator().manual_seed(step_seed(options.seed, step, purpose=1))
        chosen = self.order(step).to(self.device)
        images = to_signed(moved(self.images[chosen], generator, flip=options.flip, shift=options.shift))
        with mixed(self.device, options.precision):
            logits, _ = model(lay_out(images, options.precision))
        loss = functional.cross_entropy(logits.float(), self.labels[chosen], label_smoothing=options.label_smoothing)
        self.descent.take(step, loss)
        return loss.detach()

    def averaged(self) -> Classifier:
        """A model with the averaged weights, for evaluation."""
        model = copy.deepcopy(self.model).eval()
        self.descent.average.copy_to(model)
        return model

    def state(self) -> dict[str, Any]:
        """Model, optimiser and the average."""
        return self.descent.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        self.descent.restore(state)


def moved(images: Tensor, generator: torch.Generator, *, flip: bool, shift: int) -> Tensor:
    """Images [N, H, W, C], each mirrored with probability one half where ``flip`` is on, and moved by up to ``shift``
    pixels along both axes, its border repeated.
    """
    if not flip and not shift:
        return images
    n, height, width, _ = images.shape
    offsets = torch.randint(-shift, shift + 1, (2, n, 1), generator=generator)
    mirrored = (torch.rand((n, 1), generator=generator) < 0.5) & flip
    rows = (torch.arange(height) + offsets[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + offsets[1]).clamp(0, width - 1)
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(n)[:, None, None]
    index = (part.to(images.device) for part in (sample, rows[:, :, None], columns[:, None, :]))
    return images[tuple(index)]


@torch.no_grad()
def evaluate(model: Classifier, data: Dataset, classes: tuple[str, ...], device: str = "cpu") -> dict[str, Any]:
    """Held-out figures: the share of images whose label is the most probable, in all and by class (those that the data
    holds), and the mean of minus the log-probability of the label, in nats.
    """
    assert data.labels is not None
    labels = torch.from_numpy(data.labels)
    images = torch.from_numpy(data.images)
    parts = batches_of(len(data), EVALUATION_BATCH)
    logits = torch.cat([model(to_signed(images[part].to(device)))[0].cpu() for part in parts])
    right = (logits.argmax(1) == labels).double()
    there = {name: labels == label for label, name in enumerate(classes)}
    return {
        "accuracy": float(right.mean()),
        "accuracy_by_class": {name: float(right[own].mean()) for name, own in there.items() if own.any()},
        "cross_entropy": float(functional.cross_entropy(logits.double(), labels)),
    }


def train_classifier(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves a classifier; returns its held-out figures. Raises LatentLoopError."""
    device = runs.prepare(arguments)
    options = runs.training_options(ClassifierOptions, arguments)
    data = _with_classes(runs.load(arguments, arguments.size, arguments.image_channels), arguments)
    config = ClassifierConfig(
        height=arguments.size,
        width=arguments.size,
        classes=len(data.classes),
        image_channels=data.image_channels,
        **{name: getattr(arguments, name) for name in ("channels", "stages", "residual_blocks", "groups")},
    )
    task = ClassifierTask(config, data.training, options, device)
    loop = runs.loop_options(arguments, config, asdict(options), data)
    force = run_training(task, loop)
    averaged = task.averaged()
    metrics = evaluate(averaged, data.held_out, data.classes, device)
    runs.save(loop, config, averaged, runs.origin(arguments, data, asdict(options), metrics), force)
    return metrics


def _with_classes(data: Data, arguments: argparse.Namespace) -> Data:
    if not data.classes:
        raise InputError(f"{arguments.data}: has no labels; expected one sub-folder of images per class")
    if arguments.class_names is not None:
        return runs.rename_classes(data, arguments.class_names.split(","))
    return data
