"""The options of each training and their defaults, which are also the command line's. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from latentloop.errors import InputError


@dataclass(frozen=True)
class TrainingOptions:
    """Options of every training. ``rate``: the peak learning rate, reached after ``warm_up`` steps, at most a tenth of
    all; ``average``: the decay of the weight average; ``precision``: one of ``PRECISIONS``.
    """

    steps: int
    batch: int = 64
    rate: float = 1e-3
    seed: int = 0
    warm_up: int = 200
    average: float = 0.999
    weight_decay: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True)
class VqvaeOptions(TrainingOptions):
    """Options of a VQ-VAE's training. ``unquantised_steps``: steps before quantisation starts, at most half of all;
    ``flip``: mirror images at random. Checkpoints of earlier releases record ``unquantised_steps`` as ``warm_up``.
    """

    steps: int = 10000
    batch: int = 128
    warm_up: int = 100
    unquantised_steps: int = 200
    flip: bool = False


@dataclass(frozen=True)
class PriorOptions(TrainingOptions):
    """Options of a prior's training. ``clip``: the maximal norm of the gradient."""

    steps: int = 20000
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class DecoderOptions(TrainingOptions):
    """Options of a decoder's training. ``rate``: that of both networks; ``weight``: that of the discriminator's
    gradient; ``discriminator_channels``: those of its first layer.
    """

    steps: int = 2000
    rate: float = 2e-4
    warm_up: int = 100
    average: float = 0.995
    weight: float = 0.3
    discriminator_channels: int = 64


@dataclass(frozen=True)
class ClassifierOptions(TrainingOptions):
    """Options of a classifier's training. ``clip``: the maximal norm of the gradient; ``label_smoothing``: the
    probability that is spread evenly over all classes; ``flip``: mirror images at random; ``shift``: translate images
    at random by up to so many pixels along each axis.
    """

    steps: int = 4000
    batch: int = 128
    weight_decay: float = 0.05
    clip: float = 1.0
    label_smoothing: float = 0.1
    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label-smoothing is {self.label_smoothing}, expected at least 0, under 1")
        if self.shift < 0:
            raise InputError(f"shift is {self.shift}, expected at least 0 pixels")
