"""Sub-commands that measure speed: growth, cold-start, embedding, roofline, nearest."""

from __future__ import annotations

import argparse
from typing import Any

from latentloop.bench.commands.output import SubCommand, add_common, finish, measuring
from latentloop.cli.options import positive


def _cold_start(arguments: argparse.Namespace) -> int:
    from latentloop.bench.sampling import cold_start

    return finish(arguments, lambda: cold_start.measure(arguments.repeats, arguments.threads), cold_start.table)


def _add_budget(parser: argparse.ArgumentParser, default: float, purpose: str) -> None:
    help_text = f"{purpose} (default: {default:g})"
    parser.add_argument("--seconds", dest="budget", type=float, default=float(default), metavar="S", help=help_text)


def _add_repeats(parser: argparse.ArgumentParser, default: int, purpose: str) -> None:
    help_text = f"{purpose} (default: {default})"
    parser.add_argument("--repeats", type=positive, default=default, metavar="N", help=help_text)


def _add_growth(parser: argparse.ArgumentParser) -> None:
    help_text = "side of the largest grid (default: 128)"
    parser.add_argument("--largest", type=positive, default=128, metavar="N", help=help_text)
    _add_budget(parser, 4, "drawing time per point: larger levels are extrapolated from the rows drawn")
    add_common(parser)


def _add_cold_start(parser: argparse.ArgumentParser) -> None:
    _add_repeats(parser, 7, "processes to time")
    add_common(parser)


def _add_embedding(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draws images one at a time from C++, through the C library, and from Python: seconds an image, steps a\n"
        "second, the time from the start of a process to its first image, and its resident memory. The hosts are\n"
        "timed in turn, in processes of their own, with the same seeds. The C++ host is compiled first, with CXX or\n"
        "the system's compiler. Takes about 15 minutes on two cores."
    )
    presets = "hyper-parameters by name, and default for the bundle installed with LatentLoop"
    parser.add_argument(
        "--presets",
        default="default,rosinality-256",
        metavar="A,B",
        help=f"{presets} (default: default,rosinality-256)",
    )
    parser.add_argument(
        "--precisions", default="float32,int8", metavar="A,B", help="of the priors' weights (default: float32,int8)"
    )
    _add_repeats(parser, 5, "rounds in which each host is timed once")
    _add_budget(parser, 5, "drawing time per host and round, and as much again to time the graphs")
    add_common(parser)


def _embedding(embedding: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    presets, precisions = (option.split(",") for option in (arguments.presets, arguments.precisions))
    result: dict[str, Any] = embedding.measure(
        arguments.threads, arguments.repeats, arguments.budget, presets, precisions
    )
    return result


def _add_nearest(parser: argparse.ArgumentParser) -> None:
    _add_repeats(parser, 3, "rounds in which every implementation is timed once")
    _add_budget(parser, 0.5, "limit of the search time per implementation, shape and round")
    add_common(parser)


_GROWTH = measuring("sampling.growth", lambda growth, a: growth.measure(a.threads, a.largest, a.budget))
_EMBEDDING = measuring("embedding.embedding", _embedding)
_ROOFLINE = measuring("machine.roofline", lambda roofline, a: roofline.measure(a.threads), "the roofline")
_NEAREST = measuring("nearest.cpu", lambda nearest, a: nearest.measure(a.threads, a.repeats, a.budget))
MEASUREMENTS = (
    SubCommand("growth", "time against grid, channels, layers and batch, with fitted exponents", _add_growth, _GROWTH),
    SubCommand("cold-start", "phases of `latentloop sample -n 1` in whole processes", _add_cold_start, _cold_start),
    SubCommand("embedding", "the C library beside Python: speed, cold start, memory", _add_embedding, _EMBEDDING),
    SubCommand("roofline", "GEMM rates and read bandwidths of the machine, without a model", add_common, _ROOFLINE),
    SubCommand("nearest", "codebook search, compared with NumPy, PyTorch and FAISS", _add_nearest, _NEAREST),
)
