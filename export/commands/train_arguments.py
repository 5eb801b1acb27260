"""The command-line options of ``latentloop train``, by network."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloop.export.commands.vqvae_inplace import add_vqvae_inplace
from latentloop.export.configuration import (
    CONDITION_BLOCKS,
    HEADS,
    AnyConfig,
    ClassifierConfig,
    PriorConfig,
    VqvaeConfig,
)
from latentloop.export.train.options import (
    ClassifierOptions,
    DecoderOptions,
    PriorOptions,
    TrainingOptions,
    VqvaeOptions,
)

_Target = argparse.ArgumentParser | argparse._ArgumentGroup
_CLIP = "maximal gradient norm"
_RISING_RATE = "steps with a rising learning rate, at most a tenth of all"


def add_vqvae(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train vqvae``."""
    model = parser.add_argument_group("model (the defaults are the paper's for 256 x 256)")
    _add_fields(
        model,
        VqvaeConfig,
        levels="levels of codes",
        bottom_stride="pixels per bottom code along one axis",
        channels="channels of the encoders and decoders",
        residual_channels="channels inside a residual block",
        residual_layers="residual blocks per encoder and decoder",
        code_channels="channels of a codeword",
        codebook_size="codes per level",
    )
    _add_image_channels(model)
    _add_fields(model, VqvaeConfig, ema_decay="decay of the codebooks' averages", commitment="weight of the commitment")
    training = parser.add_argument_group("training")
    _add_image_size(training)
    _add_fields(
        training,
        VqvaeOptions,
        "STEPS",
        warm_up=_RISING_RATE,
        unquantised_steps="steps before quantisation starts, at most half of all",
    )
    _add_optimisation(training, VqvaeOptions, flip="mirror images at random")


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
    _add_fields(
        model,
        PriorConfig,
        channels="channels",
        residual_channels="channels inside a gated block",
        kernel="kernel of the causal convolutions, odd, 3 to 31",
        blocks="blocks",
        residual_blocks="causal gated blocks per block",
        output_blocks="pointwise blocks before the logits",
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
    model.add_argument(
        "--classes", action=toggle, default=True, help="condition on the labels, if there are any (default: on)"
    )
    _add_fields(model, PriorConfig, dropout="share of activations that training sets to zero")
    training = parser.add_argument_group("training")
    _add_image_size_of_vqvae(training)
    _add_fields(training, PriorOptions, "STEPS", warm_up=_RISING_RATE)
    _add_fields(training, PriorOptions, "NORM", clip=_CLIP)
    _add_optimisation(training, PriorOptions, flip="train on mirrored images too")
    _add_class_names(training)


def add_decoder(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train decoder``."""
    _add_trained_vqvae(parser)
    training = parser.add_argument_group("training")
    _add_image_size_of_vqvae(training)
    _add_fields(
        training,
        DecoderOptions,
        weight="ratio of the discriminator's gradient to the squared error's",
        discriminator_channels="channels of the discriminator's first layer",
    )
    _add_fields(training, DecoderOptions, "STEPS", warm_up=f"{_RISING_RATE}; the discriminator's weight rises too")
    _add_optimisation(training, DecoderOptions, flip="train on mirrored images too")


def add_classifier(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``train classifier``."""
    model = parser.add_argument_group("model")
    _add_fields(
        model,
        ClassifierConfig,
        channels="channels of the first stage; each further stage has twice as many",
        stages="stages; each further stage has half the height and width",
        residual_blocks="residual blocks per stage",
        groups="groups of channels for group normalisation",
    )
    _add_image_channels(model)
    training = parser.add_argument_group("training")
    _add_image_size(training)
    _add_fields(training, ClassifierOptions, "STEPS", warm_up=_RISING_RATE)
    _add_fields(training, ClassifierOptions, "NORM", clip=_CLIP)
    _add_fields(training, ClassifierOptions, "SHARE", label_smoothing="probability spread evenly over all classes")
    _add_fields(training, ClassifierOptions, "PIXELS", shift="translate images at random by up to this")
    _add_optimisation(training, ClassifierOptions, flip="mirror images at random")
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
    data.add_argument(
        "--licence", metavar="TEXT", help="licence of the weights, stored in the checkpoint (default: none)"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a run: files, seed, threads, device."""
    running = parser.add_argument_group("running")
    running.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint (.safetensors)")
    running.add_argument(
        "--seed", type=int, default=0, metavar="N", help="determines weights, order and dropout (default: 0)"
    )
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


def _add_fields(
    target: _Target, kind: type[AnyConfig | TrainingOptions], metavar: str | None = None, **texts: str
) -> None:
    """Adds an option for each of the fields of ``kind`` that ``texts`` describes, with the field's type and default.

    ``metavar``: by default N for an integer, and argparse's own for a number.
    """
    for field, text in texts.items():
        default = getattr(kind, field)
        target.add_argument(
            f"--{field.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar=metavar or ("N" if isinstance(default, int) else None),
            help=f"{text} (default: {default})",
        )


def _add_trained_vqvae(target: _Target) -> None:
    target.add_argument("--vqvae", type=Path, required=True, metavar="FILE", help="the trained VQ-VAE")
    add_vqvae_inplace(target)


def _add_image_channels(target: _Target) -> None:
    target.add_argument("--image-channels", type=int, choices=(1, 3), help="grey or RGB (default: IDX 1, folder 3)")


def _add_image_size(target: _Target) -> None:
    target.add_argument("--size", type=int, required=True, metavar="PIXELS", help="height and width of the images")


def _add_image_size_of_vqvae(target: _Target) -> None:
    target.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="height and width of the images (default: as in the VQ-VAE's training)",
    )


def _add_class_names(target: _Target) -> None:
    target.add_argument("--class-names", metavar="A,B,…", help="names of the classes, by label (default: the data's)")


def _add_optimisation(target: _Target, kind: type[TrainingOptions], *, flip: str) -> None:
    _add_fields(target, kind, steps="steps of the training", batch="images per step")
    target.add_argument(
        "--lr",
        type=float,
        default=kind.rate,
        metavar="RATE",
        help=f"peak learning rate of AdamW (default: {kind.rate})",
    )
    _add_fields(target, kind, "DECAY", weight_decay="weight decay of matrices and kernels")
    _add_fields(target, kind, average="decay of the weight average")
    target.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the convolutions in training; the weights are always float32 (default: float32)",
    )
    target.add_argument("--flip", action="store_true", help=flip)
