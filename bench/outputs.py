"""What every measurement is given and gives: threads, and the places that its figures go to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentloop.extras import require
from latentloop.options import positive


def add_common(parser: argparse.ArgumentParser) -> None:
    """``--threads`` and what ``finish`` reads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all)")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    group.add_argument("--plots", type=Path, metavar="DIR", help="also draw them, as PNG files in a folder")
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--force", action="store_true", help="replace --out")


def finish(
    arguments: argparse.Namespace, measure: Callable[[], dict[str, Any]], table: Callable[[dict[str, Any]], str]
) -> int:
    """Measures, prints, and writes what was asked for; asks about files before the work.

    Returns the exit status. Raises LatentLoopError.
    """
    from latentloop.bench.results import write_result
    from latentloop.files import check_free

    if arguments.out:
        check_free(arguments.out, force=arguments.force)
    if arguments.plots:
        require("plots", "matplotlib", extra="bench")
        check_free(arguments.plots / "plot.png", force=True)  # its files replace those of the same names
    result = measure()
    if arguments.out:
        write_result(arguments.out, result, force=arguments.force)
    if arguments.plots:
        from latentloop.bench.plots import write_plots

        write_plots(arguments.plots, result)
    print(json.dumps(result, indent=1) if arguments.json else table(result))
    return 0
