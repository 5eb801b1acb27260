"""``latentloop bench``: the measured table of the README, on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from latentloop.extras import require

HELP = "measure sampling against re-running the network for every code"
EPILOG = """examples:
  latentloop bench
  latentloop bench --preset rosinality-256 --threads 2 --out result.json

Run it on a machine that does nothing else. Weights are random: speed does not depend on them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--preset", default="rosinality-256", help="hyper-parameters (default: rosinality-256)")
    parser.add_argument("--threads", type=int, metavar="N", help="processor threads (default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="images to time (default: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--force", action="store_true", help="replace --out")


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit status. Raises LatentLoopError."""
    require("the bench", "torch")
    from latentloop.backends.onnxruntime import available_threads
    from latentloop.bench.sampling import measure, table
    from latentloop.files import check_free, write_file

    if arguments.out:
        check_free(arguments.out, force=arguments.force)
    result = measure(arguments.preset, arguments.threads or available_threads(), max(1, arguments.repeats))
    text = json.dumps(result, indent=1)
    if arguments.out:
        write_file(arguments.out, lambda path: path.write_text(text + "\n", encoding="utf-8"), force=arguments.force)
    print(text if arguments.json else table(result))
    return 0
