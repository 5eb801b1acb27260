"""``latentloop data``: synthetic data sets for training."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloop.cli.options import positive
from latentloop.environment.machine import available_threads
from latentloop.errors import plural

HELP = "generate a data set for training"
EPILOG = """example:
  latentloop data planets --out planets
  latentloop train vqvae --data planets --size 64 --out vqvae.safetensors

The images are synthetic: imaginary planets, drawn procedurally, eight classes, RGB. An image shows the same planet in
every size.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command."""
    commands = parser.add_subparsers(dest="data_set", required=True, metavar="DATA-SET")
    planets = commands.add_parser("planets", help="imaginary planets of eight classes, RGB", epilog=EPILOG)
    planets.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the new folder")
    for option, default, text in (
        ("--train", 4000, "training images per class; the ringed class has twice as many"),
        ("--test", 250, "held-out images per class"),
    ):
        planets.add_argument(option, type=positive, default=default, metavar="N", help=f"{text} (default: {default})")
    planets.add_argument("--seed", type=int, default=0, metavar="N", help="determines every image (default: 0)")
    planets.add_argument(
        "--size",
        type=positive,
        default=64,
        metavar="PIXELS",
        help="height and width of an image, 32 to 1024 (default: 64)",
    )
    planets.add_argument("--processes", type=positive, metavar="N", help="parallel processes (default: one per CPU)")


def run(arguments: argparse.Namespace) -> int:
    """Generates and writes the data set, and returns the exit status. Raises LatentLoopError."""
    from latentloop.errors import InputError
    from latentloop.export.planets.dataset import PlanetsOptions, write_planets

    if arguments.seed < 0:
        raise InputError(f"seed is {arguments.seed}, expected at least 0")
    processes = arguments.processes or available_threads()
    options = PlanetsOptions(arguments.train, arguments.test, arguments.seed, processes, arguments.size)
    count = write_planets(arguments.out, options)
    print(f"{arguments.out}: {count} {plural(count, 'image')}")
    return 0
