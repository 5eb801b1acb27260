"""What every measurement is given and gives: threads, and the places that its figures go to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latentloop.cli.options import positive
from latentloop.environment.packages import require


def add_common(parser: argparse.ArgumentParser) -> None:
    """``--threads`` and what ``finish`` reads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all)")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    group.add_argument("--plots", type=Path, metavar="DIR", help="also draw them, as PNG files in a folder")
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--force", action="store_true", help="replace --out")


def finish(
    arguments: argparse.Namespace,
    measure: Callable[[], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    also: Mapping[str, Callable[[], object]] | None = None,
) -> int:
    """Measures, prints, and writes what was asked for; asks about files before the work. ``also`` are further writes,
    by the name of what they write. One that fails costs nothing else.

    Returns the exit status. Raises LatentLoopError.
    """
    from latentloop.bench.report.result_files import write_result
    from latentloop.io.files import check_free, write_each

    if arguments.out:
        check_free(arguments.out, force=arguments.force)
    if arguments.plots:
        require("plots", "matplotlib", extra="bench")
        check_free(arguments.plots / "plot.png", force=True)  # its files replace those of the same names
    result = measure()
    writes = dict(also or {})
    if arguments.out:
        writes[str(arguments.out)] = lambda: write_result(arguments.out, result, force=arguments.force)
    if arguments.plots:
        from latentloop.bench.report.plots import write_plots

        writes[str(arguments.plots)] = lambda: write_plots(arguments.plots, result)
    try:
        write_each(writes)
    finally:
        print(json.dumps(result, indent=1) if arguments.json else table(result))
    return 0
