"""``--vqvae-inplace`` and ``--no-vqvae-inplace``, which ``export`` and ``train`` share."""

from __future__ import annotations

import argparse


def add_vqvae_form(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds the two, of which one may be given: ``vqvae_inplace`` is True, False, or None without either."""
    both = parser.add_mutually_exclusive_group()
    for option, inplace, text in (
        ("--vqvae-inplace", True, "the VQ-VAE was trained by an older release, whose residual blocks work in place"),
        ("--no-vqvae-inplace", False, "it was not (default: as the file says, today's form otherwise)"),
    ):
        both.add_argument(option, dest="vqvae_inplace", action="store_const", const=inplace, help=text)
