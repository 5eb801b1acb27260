"""``latentloop train vqvae``, ``prior``, ``decoder`` and ``classifier``."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloop.environment.packages import require
from latentloop.export.commands.vqvae_form import add_vqvae_form
from latentloop.export.configuration import CONDITION_BLOCKS, HEADS

HELP = "train a VQ-VAE, the prior over one level of its codes, its decoder further, or a classifier"

_EPILOG = """examples:
  latentloop train vqvae --data fashion-mnist --size 32 --codebook-size 256 --out vqvae.safetensors
  latentloop train prior --vqvae vqvae.safetensors --data fashion-mnist --level top --out top.safetensors
  latentloop train decoder --vqvae vqvae.safetensors --data fashion-mnist --out sharper.safetensors
  latentloop train classifier --data fashion-mnist --size 32 --out classifier.safetensors

A killed training goes on when the same command is given again: its state lies beside --out, as OUT.state.
A prior's first training keeps the codes of the data set beside the VQ-VAE, as VQVAE.codes-….safetensors.

On several GPUs (a VQ-VAE or a prior; --batch is split among them):
  torchrun --nproc-per-node 2 -m latentloop train prior --device cuda …
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-commands."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    for name, text, add in (
        ("vqvae", "train a VQ-VAE on images", _add_vqvae),
        ("prior", "train the prior of one level on the codes of a VQ-VAE", _add_prior),
        ("decoder", "sharpen a VQ-VAE's decoder against a discriminator; its codes stay as they are", _add_decoder),
        ("classifier", "train a classifier of images, by which `latentloop sample --best` chooses", _add_classifier),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(command)
        _add_common(command)


def run(arguments: argparse.Namespace) -> int:
    """Trains; returns the exit status. Raises LatentLoopError."""
    require("training", "torch")
    from latentloop.export.train.classifier import train_classifier
    from latentloop.export.train.decoder import train_decoder
    from latentloop.export.train.loop import distributed, runs
    from latentloop.export.train.prior import train_prior
    from latentloop.export.train.vqvae import train_vqvae

    networks = {
        "vqvae": train_vqvae,
        "prior": train_prior,
        "decoder": train_decoder,
        "classifier": train_classifier,
    }
    train = networks[arguments.network]
    metrics = train(arguments)
    if distributed.leads():
        runs.report(metrics, as_json=arguments.json)
    distributed.leave()
    return 0


def _add_vqvae(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model (the defaults are the paper's for 256 x 256)")
    for option, default, text in (
        ("--levels", 2, "levels of codes"),
        ("--bottom-stride", 4, "pixels per bottom code along one axis"),
        ("--channels", 128, "channels of the encoders and decoders"),
        ("--residual-channels", 64, "channels inside a residual block"),
        ("--residual-layers", 2, "residual blocks per encoder and decoder"),
        ("--code-channels", 64, "channels of a codeword"),
        ("--codebook-size", 512, "codes per level"),
    ):
        model.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    model.add_argument("--image-channels", type=int, choices=(1, 3), help="grey or RGB (default: IDX 1, folder 3)")
    model.add_argument("--ema-decay", type=float, default=0.99, help="decay of the codebooks' averages (default: 0.99)")
    model.add_argument("--commitment", type=float, default=0.25, help="weight of the commitment (default: 0.25)")
    training = parser.add_argument_group("training")
    training.add_argument("--size", type=int, required=True, metavar="PIXELS", help="height and width of the images")
    training.add_argument("--warm-up", type=int, default=200, metavar="STEPS", help="steps before quantisation begins")
    _add_training(training, steps=10000, batch=128, rate=1e-3, decay=0.0, flip="mirror images at random")


def _add_prior(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    _add_trained_vqvae(model)
    model.add_argument(
        "--from", dest="start", type=Path, metavar="FILE", help="begin with a trained prior's weights (default: random)"
    )
    model.add_argument("--level", required=True, help="the level whose codes to learn: top, middle or bottom")
    for option, default, text in (
        ("--channels", 256, "channels"),
        ("--residual-channels", 256, "channels inside a gated block"),
        ("--kernel", 5, "kernel of the causal convolutions, odd"),
        ("--blocks", 4, "blocks"),
        ("--residual-blocks", 4, "causal gated blocks per block"),
        ("--output-blocks", 0, "pointwise blocks before the logits"),
    ):
        model.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    model.add_argument("--heads", type=int, metavar="N", help=f"attention heads (default: {HEADS})")
    model.add_argument(
        "--condition-blocks",
        type=int,
        metavar="N",
        help=f"blocks over the codes of the level above (default: {CONDITION_BLOCKS})",
    )
    for option, text in (
        ("--condition-channels", "channels of the condition"),
        ("--class-channels", "channels of the label embedding"),
    ):
        model.add_argument(option, type=int, metavar="N", help=f"{text} (default: as --channels)")
    toggle = argparse.BooleanOptionalAction
    model.add_argument("--attention", action=toggle, help="attention (default: at the top level only)")
    model.add_argument("--classes", action=toggle, default=True, help="condition on the labels, if there are any")
    model.add_argument("--dropout", type=float, default=0.1, help="(default: 0.1)")
    training = parser.add_argument_group("training")
    training.add_argument("--size", type=int, metavar="PIXELS", help="(default: as the VQ-VAE was trained)")
    training.add_argument(
        "--warm-up", type=int, default=200, metavar="STEPS", help="steps of rising rate (default: 200)"
    )
    training.add_argument("--clip", type=float, default=1.0, metavar="NORM", help="limit of the gradient (default: 1)")
    _add_training(training, steps=20000, batch=64, rate=1e-3, decay=0.01, flip="train on mirrored images too")
    training.add_argument("--class-names", metavar="A,B,…", help="names of the classes, by label (default: the data's)")


def _add_decoder(parser: argparse.ArgumentParser) -> None:
    _add_trained_vqvae(parser)
    training = parser.add_argument_group("training")
    training.add_argument("--size", type=int, metavar="PIXELS", help="(default: as the VQ-VAE was trained)")
    training.add_argument(
        "--weight",
        type=float,
        default=0.3,
        help="of the discriminator's gradient against the squared error's (default: 0.3)",
    )
    training.add_argument(
        "--discriminator-channels", type=int, default=64, metavar="N", help="of its first layer (default: 64)"
    )
    training.add_argument(
        "--warm-up", type=int, default=100, metavar="STEPS", help="steps of rising rate and weight (default: 100)"
    )
    _add_training(
        training, steps=2000, batch=64, rate=2e-4, decay=0.0, average=0.995, flip="train on mirrored images too"
    )


def _add_trained_vqvae(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--vqvae", type=Path, required=True, metavar="FILE", help="the trained VQ-VAE")
    add_vqvae_form(parser)


def _add_classifier(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    for option, default, text in (
        ("--channels", 16, "channels of the first stage; each stage has twice those of the one before"),
        ("--stages", 4, "stages, each at half the size of the one before"),
        ("--residual-blocks", 1, "residual blocks per stage"),
        ("--groups", 8, "groups of channels that are normalised together"),
    ):
        model.add_argument(option, type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    model.add_argument("--image-channels", type=int, choices=(1, 3), help="grey or RGB (default: IDX 1, folder 3)")
    training = parser.add_argument_group("training")
    training.add_argument("--size", type=int, required=True, metavar="PIXELS", help="height and width of the images")
    training.add_argument(
        "--warm-up", type=int, default=200, metavar="STEPS", help="steps of rising rate (default: 200)"
    )
    training.add_argument("--clip", type=float, default=1.0, metavar="NORM", help="limit of the gradient (default: 1)")
    training.add_argument(
        "--label-smoothing",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="mass spread over all classes (default: 0.1)",
    )
    training.add_argument(
        "--shift", type=int, default=0, metavar="PIXELS", help="move images at random by up to this (default: 0)"
    )
    _add_training(training, steps=4000, batch=128, rate=1e-3, decay=0.05, flip="mirror images at random")
    training.add_argument("--class-names", metavar="A,B,…", help="names of the classes, by label (default: the data's)")


def _add_training(
    group: argparse._ArgumentGroup,
    *,
    steps: int,
    batch: int,
    rate: float,
    decay: float,
    flip: str,
    average: float = 0.999,
) -> None:
    group.add_argument("--steps", type=int, default=steps, metavar="N", help=f"(default: {steps})")
    group.add_argument("--batch", type=int, default=batch, metavar="N", help=f"images per step (default: {batch})")
    group.add_argument("--lr", type=float, default=rate, metavar="RATE", help=f"peak rate of AdamW (default: {rate})")
    group.add_argument(
        "--weight-decay", type=float, default=decay, metavar="DECAY", help=f"of matrices and kernels (default: {decay})"
    )
    text = f"decay of the weights' average (default: {average})"
    group.add_argument("--average", type=float, default=average, help=text)
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the convolutions while training; the weights are float32 in both (default: float32)",
    )
    group.add_argument("--flip", action="store_true", help=flip)


def _add_common(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="IDX files as MNIST names them, or one sub-folder of images per class; train/ and test/ may hold those",
    )
    data.add_argument(
        "--held-out",
        type=float,
        metavar="FRACTION",
        help="kept from training, where the data has no such part (default: 0.05)",
    )
    data.add_argument(
        "--split-seed", type=int, metavar="N", help="draws the held-out part: one value for all networks (default: 0)"
    )
    data.add_argument("--licence", help="licence of the weights, stored in the checkpoint")
    running = parser.add_argument_group("running")
    running.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint (.safetensors)")
    running.add_argument("--seed", type=int, default=0, help="decides weights, order and dropout (default: 0)")
    running.add_argument("--threads", type=int, metavar="N", help="processor threads (default: all)")
    running.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    running.add_argument(
        "--save-every",
        type=int,
        default=500,
        metavar="STEPS",
        help="between states, ten minutes at most (default: 500)",
    )
    running.add_argument("--restart", action="store_true", help="discard an interrupted training's state")
    running.add_argument("--force", action="store_true", help="replace --out")
    running.add_argument("--json", action="store_true", help="print the final figures as JSON")
