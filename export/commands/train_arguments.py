"""The command-line options of ``latentloop train``, by network."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from latentloop.export.commands.vqvae_inplace import add_vqvae_inplace
from latentloop.export.configuration import CONDITION_BLOCKS, HEADS

_Target = argparse.ArgumentParser | argparse._ArgumentGroup
_RISING_RATE = "steps with a rising learning rate"


def add_vqvae(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train vqvae``."""
    model = parser.add_argument_group("model (the defaults are the paper's for 256 x 256)")
    _add_counts(
        model,
        (
            ("--levels", 2, "levels of codes"),
            ("--bottom-stride", 4, "pixels per bottom code along one axis"),
            ("--channels", 128, "channels of the encoders and decoders"),
            ("--residual-channels", 64, "channels inside a residual block"),
            ("--residual-layers", 2, "residual blocks per encoder and decoder"),
            ("--code-channels", 64, "channels of a codeword"),
            ("--codebook-size", 512, "codes per level"),
        ),
    )
    _add_image_channels(model)
    model.add_argument("--ema-decay", type=float, default=0.99, help="decay of the codebooks' averages (default: 0.99)")
    model.add_argument("--commitment", type=float, default=0.25, help="weight of the commitment (default: 0.25)")
    training = parser.add_argument_group("training")
    _add_image_size(training)
    training.add_argument("--warm-up", type=int, default=200, metavar="STEPS", help="steps before quantisation starts")
    _add_optimisation(training, steps=10000, batch=128, rate=1e-3, decay=0.0, flip="mirror images at random")


def add_prior(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train prior``."""
    model = parser.add_argument_group("model")
    _add_trained_vqvae(model)
    model.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="start with the weights of a trained prior (default: random weights)",
    )
    model.add_argument("--level", required=True, help="the level whose codes to learn: top, middle or bottom")
    _add_counts(
        model,
        (
            ("--channels", 256, "channels"),
            ("--residual-channels", 256, "channels inside a gated block"),
            ("--kernel", 5, "kernel of the causal convolutions, odd, 3 to 31"),
            ("--blocks", 4, "blocks"),
            ("--residual-blocks", 4, "causal gated blocks per block"),
            ("--output-blocks", 0, "pointwise blocks before the logits"),
        ),
    )
    for option, default, text in (
        ("--heads", str(HEADS), "attention heads"),
        ("--condition-blocks", str(CONDITION_BLOCKS), "blocks over the codes of the level above"),
        ("--condition-channels", "as --channels", "channels of the condition"),
        ("--class-channels", "as --channels", "channels of the label embedding"),
    ):
        model.add_argument(option, type=int, metavar="N", help=f"{text} (default: {default})")
    toggle = argparse.BooleanOptionalAction
    model.add_argument("--attention", action=toggle, help="attention (default: at the top level only)")
    model.add_argument("--classes", action=toggle, default=True, help="condition on the labels, if there are any")
    model.add_argument("--dropout", type=float, default=0.1, help="(default: 0.1)")
    training = parser.add_argument_group("training")
    _add_image_size_of_vqvae(training)
    _add_warm_up(training, 200, _RISING_RATE)
    _add_clip(training)
    _add_optimisation(training, steps=20000, batch=64, rate=1e-3, decay=0.01, flip="train on mirrored images too")
    _add_class_names(training)


def add_decoder(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train decoder``."""
    _add_trained_vqvae(parser)
    training = parser.add_argument_group("training")
    _add_image_size_of_vqvae(training)
    training.add_argument(
        "--weight",
        type=float,
        default=0.3,
        help="ratio of the discriminator's gradient to the squared error's (default: 0.3)",
    )
    training.add_argument(
        "--discriminator-channels",
        type=int,
        default=64,
        metavar="N",
        help="channels of the discriminator's first layer (default: 64)",
    )
    _add_warm_up(training, 100, "steps with a rising learning rate and a rising weight")
    flip = "train on mirrored images too"
    _add_optimisation(training, steps=2000, batch=64, rate=2e-4, decay=0.0, average=0.995, flip=flip)


def add_classifier(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train classifier``."""
    model = parser.add_argument_group("model")
    _add_counts(
        model,
        (
            ("--channels", 16, "channels of the first stage; each further stage has twice as many"),
            ("--stages", 4, "stages; each further stage has half the height and width"),
            ("--residual-blocks", 1, "residual blocks per stage"),
            ("--groups", 8, "groups of channels for group normalisation"),
        ),
    )
    _add_image_channels(model)
    training = parser.add_argument_group("training")
    _add_image_size(training)
    _add_warm_up(training, 200, _RISING_RATE)
    _add_clip(training)
    training.add_argument(
        "--label-smoothing",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="probability spread evenly over all classes (default: 0.1)",
    )
    training.add_argument(
        "--shift",
        type=int,
        default=0,
        metavar="PIXELS",
        help="translate images at random by up to this (default: 0)",
    )
    _add_optimisation(training, steps=4000, batch=128, rate=1e-3, decay=0.05, flip="mirror images at random")
    _add_class_names(training)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the data set."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="IDX files with MNIST's names, or one sub-folder of images per class, or such sub-folders in train/ and"
        " test/",
    )
    data.add_argument(
        "--held-out",
        type=float,
        metavar="FRACTION",
        help="fraction of the images to hold out, if the data set has no test part (default: 0.05)",
    )
    data.add_argument(
        "--split-seed",
        type=int,
        metavar="N",
        help="chooses the held-out images; use one value for all networks (default: 0)",
    )
    data.add_argument("--licence", help="licence of the weights, stored in the checkpoint")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a run: files, seed, threads, device."""
    running = parser.add_argument_group("running")
    running.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint (.safetensors)")
    running.add_argument("--seed", type=int, default=0, help="determines weights, order and dropout (default: 0)")
    running.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    running.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    running.add_argument(
        "--save-every",
        type=int,
        default=500,
        metavar="STEPS",
        help="steps between two saved states; at most ten minutes (default: 500)",
    )
    running.add_argument("--restart", action="store_true", help="discard an interrupted training's state")
    running.add_argument("--force", action="store_true", help="replace --out")
    running.add_argument("--json", action="store_true", help="print the held-out metrics as JSON")


def _add_counts(target: _Target, options: Iterable[tuple[str, int, str]]) -> None:
    for option, default, text in options:
        target.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: {default})")


def _add_trained_vqvae(target: _Target) -> None:
    target.add_argument("--vqvae", type=Path, required=True, metavar="FILE", help="the trained VQ-VAE")
    add_vqvae_inplace(target)


def _add_image_channels(target: _Target) -> None:
    target.add_argument("--image-channels", type=int, choices=(1, 3), help="grey or RGB (default: IDX 1, folder 3)")


def _add_image_size(target: _Target) -> None:
    target.add_argument("--size", type=int, required=True, metavar="PIXELS", help="height and width of the images")


def _add_image_size_of_vqvae(target: _Target) -> None:
    target.add_argument("--size", type=int, metavar="PIXELS", help="(default: as in the VQ-VAE's training)")


def _add_warm_up(target: _Target, steps: int, text: str) -> None:
    target.add_argument("--warm-up", type=int, default=steps, metavar="STEPS", help=f"{text} (default: {steps})")


def _add_clip(target: _Target) -> None:
    target.add_argument("--clip", type=float, default=1.0, metavar="NORM", help="maximal gradient norm (default: 1)")


def _add_class_names(target: _Target) -> None:
    target.add_argument("--class-names", metavar="A,B,…", help="names of the classes, by label (default: the data's)")


def _add_optimisation(
    target: _Target, *, steps: int, batch: int, rate: float, decay: float, flip: str, average: float = 0.999
) -> None:
    target.add_argument("--steps", type=int, default=steps, metavar="N", help=f"(default: {steps})")
    target.add_argument("--batch", type=int, default=batch, metavar="N", help=f"images per step (default: {batch})")
    target.add_argument(
        "--lr", type=float, default=rate, metavar="RATE", help=f"peak learning rate of AdamW (default: {rate})"
    )
    target.add_argument(
        "--weight-decay",
        type=float,
        default=decay,
        metavar="DECAY",
        help=f"weight decay of matrices and kernels (default: {decay})",
    )
    target.add_argument(
        "--average", type=float, default=average, help=f"decay of the weight average (default: {average})"
    )
    target.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the convolutions in training; the weights are always float32 (default: float32)",
    )
    target.add_argument("--flip", action="store_true", help=flip)
