"""``latentloop bench``: measures a preset, or runs a sub-command."""

from __future__ import annotations

import argparse

from latentloop.bench.commands.measurements import MEASUREMENTS
from latentloop.bench.commands.output import add_common, finish, names, positive_numbers, require_extra
from latentloop.bench.commands.quality import QUALITY
from latentloop.bench.commands.results import RESULTS
from latentloop.bench.commands.throughput import THROUGHPUT
from latentloop.cli.options import positive
from latentloop.errors import InputError

HELP = "measure sampling against baselines and against this machine's roofline"
EPILOG = """examples:
  latentloop bench
  latentloop bench --preset rosinality-256 --threads 2 --out result.json --plots plots/
  latentloop bench --preset default --batches 1,16,64 --peers eager,float32
  latentloop bench throughput --out throughput.json --plots plots/
  latentloop bench growth --out growth.json --plots plots/
  latentloop bench cold-start
  latentloop bench embedding --out embedding.json
  latentloop bench roofline
  latentloop bench nearest --out nearest.json
  latentloop bench quality --data /usr/share/datasets/fashion-mnist --out quality.json
  latentloop bench samples --data planets/ --out samples.json --picture neighbours.png
  latentloop bench compare before.json after.json
  latentloop bench readme --results bench/results/cpu-rosinality-256.json bench/results/cpu-cold-start.json --check

Run it on an otherwise idle machine. Presets have random weights: speed does not depend on the weights.

A plain `latentloop bench` takes roughly 40 minutes on two cores, with --batches 1,16 about 15, and with --seconds 5
--batches 1 about 5, with more figures extrapolated. Times are medians of the rounds. The words in brackets after a
number (extrapolated, poor fit, unstable) and the headings are defined below the tables.
"""
SUB_COMMANDS = {command.name: command for command in (*THROUGHPUT, *MEASUREMENTS, *QUALITY, *RESULTS)}
_PRESET_OPTIONS = ("preset", "rounds", "seconds", "batches", "peers", "no_memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a run without a sub-command, and the sub-commands."""
    group = parser.add_argument_group("measuring a preset")
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="hyper-parameters, or default for the bundle installed with LatentLoop (default: rosinality-256)",
    )
    group.add_argument(
        "--rounds", type=positive, metavar="N", help="rounds in which every implementation is timed once (default: 3)"
    )
    group.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="a level that takes at most S seconds is timed whole; of a longer one at least three rows are timed, and "
        "the rest is extrapolated and marked so (default: 120)",
    )
    group.add_argument(
        "--batches", metavar="A,B", help="batch sizes (default: 1,4,16,64; 1,4,16 if the preset is timed in parts)"
    )
    group.add_argument(
        "--peers",
        metavar="A,B",
        help="implementations: baselines naive, eager, compiled; LatentLoop float32, int8 (default: all)",
    )
    group.add_argument(
        "--no-memory",
        action="store_true",
        default=None,
        help="do not measure peak memory, which needs a process per implementation",
    )
    add_common(parser)
    parts = parser.add_subparsers(dest="part", metavar="COMMAND", title="sub-commands")
    for command in SUB_COMMANDS.values():
        command.add_arguments(
            parts.add_parser(
                command.name,
                help=command.help,
                description=command.help,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )


def run(arguments: argparse.Namespace) -> int:
    """Measures or reports, and returns the exit status. Raises LatentLoopError."""
    if not arguments.part:
        return _measure_preset(arguments)
    options = [name for name in _PRESET_OPTIONS if getattr(arguments, name, None) is not None]
    if options:
        raise InputError(
            f"--{options[0].replace('_', '-')} belongs to a plain `latentloop bench`, not to "
            f"`latentloop bench {arguments.part}`"
        )
    return SUB_COMMANDS[arguments.part].run(arguments)


def _measure_preset(arguments: argparse.Namespace) -> int:
    require_extra("the bench")
    from latentloop.bench.baselines.implementation import IMPLEMENTATIONS
    from latentloop.bench.report.markdown import report
    from latentloop.bench.sampling.preset_benchmark import BUDGET, Settings, measure
    from latentloop.bench.workload.models import hierarchy
    from latentloop.environment.machine import available_threads

    peers = names("--peers", "implementation", arguments.peers, IMPLEMENTATIONS)
    settings = Settings(
        preset=arguments.preset or "rosinality-256",
        threads=arguments.threads or available_threads(),
        rounds=arguments.rounds or 3,
        budget=BUDGET if arguments.seconds is None else arguments.seconds,
        batches=positive_numbers("--batches", arguments.batches),
        implementations=peers or IMPLEMENTATIONS,
        memory=not arguments.no_memory,
    )
    hierarchy(settings.preset)  # raises InputError for an unknown preset before measuring
    return finish(arguments, lambda: measure(settings), report)
