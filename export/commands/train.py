"""``latentloop train vqvae``, ``prior``, ``decoder`` and ``classifier``."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from typing import Any

from latentloop.cli.messages import note
from latentloop.environment.packages import require
from latentloop.errors import LatentLoopError
from latentloop.export.commands import train_arguments

HELP = "train a VQ-VAE, a prior, the decoder of a trained VQ-VAE, or a classifier"
EPILOG = """examples:
  latentloop train vqvae --data fashion-mnist --size 32 --codebook-size 256 --out vqvae.safetensors
  latentloop train prior --vqvae vqvae.safetensors --data fashion-mnist --level top --out top.safetensors
  latentloop train decoder --vqvae vqvae.safetensors --data fashion-mnist --out sharper.safetensors
  latentloop train classifier --data fashion-mnist --size 32 --out classifier.safetensors

To continue an interrupted training, run the same command again. Its state file is OUT.state.
The first training with a VQ-VAE's codes stores them beside the VQ-VAE, as VQVAE.codes-….safetensors.

On several GPUs (a VQ-VAE or a prior; each GPU computes its part of --batch):
  torchrun --nproc-per-node 2 -m latentloop train prior --device cuda …
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command per network."""
    commands = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    for name, text, add in (
        ("vqvae", "train a VQ-VAE on images", train_arguments.add_vqvae),
        ("prior", "train the prior of one level on the codes of a VQ-VAE", train_arguments.add_prior),
        (
            "decoder",
            "train a VQ-VAE's decoder against a discriminator, for sharper images; the codes do not change",
            train_arguments.add_decoder,
        ),
        ("classifier", "train an image classifier, for `latentloop sample --best`", train_arguments.add_classifier),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
        add(command)
        train_arguments.add_data(command)
        train_arguments.add_run(command)
        command.set_defaults(parser=command)  # to print a command like this one


def run(arguments: argparse.Namespace) -> int:
    """Trains, prints the result and what to do next, and returns the exit status. Raises LatentLoopError."""
    require("training", "torch")
    from latentloop.export.commands.train_next import continuation
    from latentloop.export.train import distributed
    from latentloop.export.train.classifier import train_classifier
    from latentloop.export.train.decoder import train_decoder
    from latentloop.export.train.prior import train_prior
    from latentloop.export.train.run.training_loop import state_path
    from latentloop.export.train.vqvae import train_vqvae

    train = {"vqvae": train_vqvae, "prior": train_prior, "decoder": train_decoder, "classifier": train_classifier}
    try:
        metrics = train[arguments.network](arguments)
    except KeyboardInterrupt:
        if distributed.launched_processes() == 1:  # torchrun ends the processes at once
            outcome = "to continue" if state_path(arguments.out).exists() else "nothing was saved; to start again"
            note(f"{outcome}: {continuation(arguments)}")
        raise
    if distributed.is_leader():
        _print_result(arguments, metrics)
    distributed.leave()
    return 0


def _print_result(arguments: argparse.Namespace, metrics: dict[str, Any]) -> None:
    from latentloop.export.checkpoints.checkpoint import load_checkpoint
    from latentloop.export.commands.train_next import next_steps
    from latentloop.export.commands.train_report import figures, warnings

    trained = load_checkpoint(arguments.out, weights=False)
    for text in warnings(trained):
        note(f"warning: {text}")
    if arguments.json:
        print(json.dumps(metrics))
        return
    print(f"wrote {arguments.out}")
    for line in figures(trained):
        print(line)
    with suppress(LatentLoopError, OSError):  # the training succeeded, even if files were moved since
        for title, text in next_steps(arguments, trained):
            print(f"{title}:\n  {text}")
