"""``latentloop merge``: joins the parts of a run, or its .npz shards."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli import messages
from latentloop.cli.progress import Bar
from latentloop.errors import InputError, plural

if TYPE_CHECKING:
    from latentloop.bulk.merging.run_folder import Merged

HELP = "join the parts of a run into one folder, or its .npz shards into one file"
EPILOG = """examples:
  latentloop sample -n 50000 --seed 1 --format npz --out samples/
  latentloop merge samples/ --out samples.npz

  latentloop sample -n 50000 --seed 1 --shard 0/2 --out part-0/    # here, and
  latentloop sample -n 50000 --seed 1 --shard 1/2 --out part-1/    # on another machine
  latentloop merge part-0/ part-1/ --out samples/

A folder is then the one that a single machine would have written, and `sample` goes on in it: its files are hard links
to those of the parts, or copies on another file system. A file has arr_0, images uint8 [N, H, W, C]; with classes
arr_1, labels int64 [N]; and seeds, uint64 [N]. Parts of different runs, parts that are missing, there twice or not
finished, and files that differ from what their journal lists are refused. The parts stay as they are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="the folder of a run, or those of all its parts"
    )
    parser.add_argument(
        "--out", required=True, metavar="PATH", help="a file (.npz), or, if the name ends in /, a folder"
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    parser.add_argument("--force", action="store_true", help="replace a file or an earlier run that exists")


def run(arguments: argparse.Namespace) -> int:
    """Merges parts or shards, and returns the exit status. Raises LatentLoopError."""
    out, is_folder = Path(arguments.out), arguments.out.endswith("/")
    if not is_folder and out.suffix != ".npz":
        raise InputError(f"--out {out} ends in {out.suffix!r}, expected .npz for a file, or / for a folder")
    started = time.perf_counter()
    result: Merged | None = None
    with Bar("image", "merge") as bar:
        if is_folder:
            from latentloop.bulk.merging.run_folder import merge_folder

            result = merge_folder(arguments.folders, out, force=arguments.force, merged=bar.update)
            n = result.images
        else:
            from latentloop.bulk.merging.npz_file import merge_npz
            from latentloop.io.files import check_free

            check_free(out, force=arguments.force)
            n = merge_npz(arguments.folders, out, force=arguments.force, merged=bar.update)
    summary = {
        "file": arguments.out,
        "images": n,
        "parts": len(arguments.folders),
        "linked": result.linked if result else None,
        "copied": result.copied if result else None,
        "seconds": time.perf_counter() - started,
    }
    line = f"{arguments.out}: {n} {plural(n, 'image')}"
    if result:
        line += f" of {result.parts} {plural(result.parts, 'part')}, {_how(result)}"
    messages.print_result(summary, line, as_json=arguments.json)
    return 0


def _how(result: Merged) -> str:
    """Returns how the files were joined."""
    linked = f"{result.linked} {plural(result.linked, 'file')} as hard links"
    copied = f"{result.copied} {plural(result.copied, 'file')} copied"
    return f"{linked}, {copied}" if result.linked and result.copied else copied if result.copied else linked
