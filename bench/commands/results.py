"""Sub-commands that read result files: compare, readme."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from latentloop.bench.commands.output import SubCommand, require_extra


def _compare(arguments: argparse.Namespace) -> int:
    from latentloop.bench.figures.result_files import read_result
    from latentloop.bench.report.comparison import compare, table

    comparison = compare(read_result(arguments.before), read_result(arguments.after))
    print(json.dumps(comparison, indent=1) if arguments.json else table(comparison))
    return 0


def _readme(arguments: argparse.Namespace) -> int:
    require_extra("the bench")
    from latentloop.bench.figures.result_files import read_result
    from latentloop.bench.report.readme import check, update

    results = [read_result(path, "sampling", "cold-start") for path in arguments.results]
    if arguments.check:
        check(arguments.readme, results)
    else:
        update(arguments.readme, results)
    print(f"{arguments.readme}: {'matches the results' if arguments.check else 'written'}")
    return 0


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_readme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, metavar="FILE", help="results, in the order of the text"
    )
    parser.add_argument(
        "--readme",
        type=Path,
        default=Path("README.md"),
        metavar="FILE",
        help="the file with the markers (default: README.md)",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the text differs from the results"
    )


RESULTS = (
    SubCommand("compare", "two results of one kind, figure by figure", _add_compare, _compare),
    SubCommand("readme", "write the README's table from results, or check it", _add_readme, _readme),
)
