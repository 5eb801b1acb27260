"""``latentloop build-engines``: builds TensorRT engines of a bundle."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from latentloop.cli import messages, options
from latentloop.environment.packages import require
from latentloop.errors import InputError

HELP = "build a bundle's TensorRT engines"
EPILOG = """examples:
  latentloop build-engines bundle
  latentloop build-engines bundle --arch sm89,sm120 --precision float16
  latentloop build-engines bundle --flavour tensorrt --max-batch 64

Engines are stored in the bundle, in engines/. TensorRT for RTX builds for all architectures that it supports, on any
machine; TensorRT for data centres builds for this machine's GPU. Engines that are up to date are not built again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    options.add_bundle(parser, argument=True)
    parser.add_argument(
        "--flavour",
        choices=("tensorrt", "tensorrt_rtx"),
        help="the TensorRT library (default: whichever is installed)",
    )
    parser.add_argument("--arch", metavar="SM,…", help="GPU architectures, such as sm89,sm120 (default: all supported)")
    parser.add_argument(
        "--precision",
        metavar="NAME,…",
        default="float32,float16",
        help="float32, float16, bfloat16 (products of 16 bits), int8 (weights of 8 bits) (default: float32,float16)",
    )
    parser.add_argument(
        "--max-batch", type=options.positive, default=16, metavar="N", help="largest batch size (default: 16)"
    )
    parser.add_argument("--force", action="store_true", help="build engines that are up to date, too")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Builds engines, and returns the exit status. Raises LatentLoopError."""
    require("building engines", "onnx")
    from latentloop.backends.interface import MAX_BATCH
    from latentloop.engines.engine_set import PRECISIONS, graph_precision
    from latentloop.export.tensorrt.builder import open_builder
    from latentloop.export.tensorrt.engine_sets import build_sets

    if arguments.max_batch > MAX_BATCH:
        raise InputError(f"--max-batch is {arguments.max_batch}, expected at most {MAX_BATCH}")
    bundle = options.open_selected(arguments)
    graph_precisions = bundle.manifest.precisions
    possible = tuple(precision for precision in PRECISIONS if graph_precision(precision) in graph_precisions)
    precisions = _names("precision", arguments.precision, possible)
    builder = open_builder(arguments.flavour)
    architectures = _names("arch", arguments.arch, builder.architectures())
    outcomes = []
    for outcome in build_sets(
        bundle, builder, architectures, precisions, max_batch=arguments.max_batch, force=arguments.force
    ):
        outcomes.append(outcome)
        if not arguments.json:
            state = f"{outcome.state}: {outcome.why}" if outcome.why else outcome.state
            duration = f", {outcome.seconds:.1f} s" if outcome.seconds else ""
            print(f"{outcome.folder.name} ({outcome.size / 1e6:.1f} MB{duration}): {state}", flush=True)
    if arguments.json:
        sets = [{**asdict(outcome), "folder": str(outcome.folder)} for outcome in outcomes]
        messages.print_json(
            {"bundle": bundle.location, "flavour": builder.name, "library": builder.version, "sets": sets}
        )
    return 0


def _names(option: str, text: str | None, possible: tuple[str, ...]) -> tuple[str, ...]:
    """Parses a comma-separated list; None stands for all possible names. Raises InputError for another name."""
    if text is None:
        return possible
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in possible:
            raise InputError(f"--{option} is {name!r}, expected some of {', '.join(possible)}")
    return names
