"""The options ``--vqvae-inplace`` and ``--no-vqvae-inplace``, shared by ``export`` and ``train``."""

from __future__ import annotations

import argparse


def add_vqvae_inplace(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds both options, which exclude each other: ``vqvae_inplace`` is True or False, or None without an option."""
    options = parser.add_mutually_exclusive_group()
    for option, inplace, text in (
        ("--vqvae-inplace", True, "the VQ-VAE was trained by an older release, whose residual blocks work in place"),
        ("--no-vqvae-inplace", False, "it was not (default: what the file says, else not)"),
    ):
        options.add_argument(option, dest="vqvae_inplace", action="store_const", const=inplace, help=text)
