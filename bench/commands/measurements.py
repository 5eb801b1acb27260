"""Sub-commands that measure speed: growth, cold-start, roofline, nearest."""

from __future__ import annotations

import argparse

from latentloop.bench.commands.output import SubCommand, add_common, finish, require_extra
from latentloop.cli.options import positive


def _growth(arguments: argparse.Namespace) -> int:
    require_extra("the bench")
    from latentloop.bench.sampling import growth
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(arguments, lambda: growth.measure(threads, arguments.largest, arguments.budget), growth.table)


def _cold_start(arguments: argparse.Namespace) -> int:
    from latentloop.bench.sampling import cold_start

    return finish(arguments, lambda: cold_start.measure(arguments.repeats, arguments.threads), cold_start.table)


def _roofline(arguments: argparse.Namespace) -> int:
    require_extra("the roofline")
    from latentloop.bench.figures.result_files import new_result
    from latentloop.bench.machine import roofline
    from latentloop.bench.machine.environment import environment
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(
        arguments,
        lambda: new_result("roofline", environment(threads), **roofline.measure_roofline(threads)),
        roofline.table,
    )


def _nearest(arguments: argparse.Namespace) -> int:
    require_extra("the bench")
    from latentloop.bench.nearest import cpu
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(arguments, lambda: cpu.measure(threads, arguments.repeats, arguments.budget), cpu.table)


def _add_budget(parser: argparse.ArgumentParser, default: float, purpose: str) -> None:
    parser.add_argument(
        "--seconds",
        dest="budget",
        type=float,
        default=float(default),
        metavar="S",
        help=f"{purpose} (default: {default:g})",
    )


def _add_growth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--largest", type=positive, default=128, metavar="N", help="side of the largest grid (default: 128)"
    )
    _add_budget(parser, 4, "limit of the drawing time per point")
    add_common(parser)


def _add_cold_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=positive, default=7, metavar="N", help="processes to time (default: 7)")
    add_common(parser)


def _add_nearest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeats",
        type=positive,
        default=3,
        metavar="N",
        help="rounds in which every implementation is timed once (default: 3)",
    )
    _add_budget(parser, 0.5, "limit of the search time per implementation, shape and round")
    add_common(parser)


MEASUREMENTS = (
    SubCommand("growth", "time against grid, channels, layers and batch, with fitted exponents", _add_growth, _growth),
    SubCommand("cold-start", "phases of `latentloop sample -n 1` in whole processes", _add_cold_start, _cold_start),
    SubCommand("roofline", "GEMM rates and read bandwidths of the machine, without a model", add_common, _roofline),
    SubCommand("nearest", "codebook search, compared with NumPy, PyTorch and FAISS", _add_nearest, _nearest),
)
