"""``latentloop merge``: joins the .npz shards of a run into one file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop.cli import messages
from latentloop.cli.progress import Bar
from latentloop.errors import InputError

HELP = "join the .npz shards of a run into one file"
EPILOG = """example:
  latentloop sample -n 50000 --seed 1 --format npz --out samples/
  latentloop merge samples/ --out samples.npz

The file has arr_0, images uint8 [N, H, W, C]; with classes arr_1, labels int64 [N]; and seeds, uint64 [N]. A run that
is not finished, and files that differ from what its journal lists, are refused.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `sample --format npz --out DIR/` has written")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write (.npz)")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def run(arguments: argparse.Namespace) -> int:
    """Merges the shards, and returns the exit status. Raises LatentLoopError."""
    from latentloop.bulk.merging import merge_npz
    from latentloop.io.files import check_free

    if arguments.out.suffix != ".npz":
        raise InputError(f"--out {arguments.out} ends in {arguments.out.suffix!r}, expected .npz")
    check_free(arguments.out, force=arguments.force)
    started = time.perf_counter()
    with Bar("image", "merge") as bar:
        n = merge_npz(arguments.folder, arguments.out, force=arguments.force, merged=bar.update)
    summary = {"file": str(arguments.out), "images": n, "seconds": time.perf_counter() - started}
    messages.print_result(summary, f"{arguments.out}: {n} {messages.plural(n, 'image')}", as_json=arguments.json)
    return 0
