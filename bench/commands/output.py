"""Options and output common to all measurements: threads, tables, JSON, plots."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from latentloop.cli.options import positive
from latentloop.environment.machine import available_threads
from latentloop.environment.packages import require
from latentloop.errors import InputError


@dataclass(frozen=True)
class SubCommand:
    """A sub-command of ``latentloop bench``. ``run`` returns the exit status, and may raise LatentLoopError."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def measuring(
    module: str, measure: Callable[[Any, argparse.Namespace], dict[str, Any]], purpose: str = "the bench"
) -> Callable[[argparse.Namespace], int]:
    """Returns the ``run`` of a sub-command that measures by a function of a module and prints the module's ``table``.

    The module, in ``latentloop.bench``, is imported when the command runs. ``purpose``: as in ``require_extra``.
    """

    def run(arguments: argparse.Namespace) -> int:
        require_extra(purpose)
        measurement = import_module(f"latentloop.bench.{module}")
        arguments.threads = arguments.threads or available_threads()
        return finish(arguments, lambda: measure(measurement, arguments), measurement.table)

    return run


def require_extra(purpose: str) -> None:
    """Raises MissingError if a package of the ``bench`` extra that measurements import is not installed.

    ``purpose`` says in the message what needs the packages.
    """
    require(purpose, "torch", "onnx", extra="bench")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds ``--threads`` and the options that ``finish`` reads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all)")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the options that ``finish`` reads."""
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="FILE", help="also write the results as JSON")
    group.add_argument(
        "--plots",
        type=Path,
        metavar="DIR",
        help="also write plots as PNG files into a folder, over those of the same names",
    )
    group.add_argument("--json", action="store_true", help="print JSON instead of tables")
    group.add_argument("--force", action="store_true", help="replace an existing --out file")


def positive_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Returns the different numbers of a list such as ``1,4``, () for None. Raises InputError that names the option."""
    try:
        numbers = tuple(positive(part) for part in text.split(",")) if text is not None else ()
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{option}: {error}") from None
    return tuple(dict.fromkeys(numbers))


def names(option: str, what: str, text: str | None, known: Collection[str]) -> tuple[str, ...]:
    """Returns the different names of a list such as ``a,b``, () for None. Raises InputError for an unknown one."""
    chosen = () if text is None else tuple(dict.fromkeys(text.split(",")))
    for name in chosen:
        if name not in known:
            raise InputError(f"{option}: no {what} {name!r}, expected some of {', '.join(known)}")
    return chosen


def finish(
    arguments: argparse.Namespace,
    measure: Callable[[], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    other_files: Mapping[str, Callable[[], object]] | None = None,
) -> int:
    """Measures, writes the requested files, prints the result, and returns the exit status.

    Output paths are checked before measuring. ``other_files`` maps the name of each further file to a function that
    writes it. Every file is attempted even if another cannot be written. Raises LatentLoopError.
    """
    from latentloop.bench.figures.result_files import write_result
    from latentloop.io.files import check_free, write_each

    if arguments.out:
        check_free(arguments.out, force=arguments.force)
    if arguments.plots:
        require("plots", "matplotlib", extra="bench")
        check_free(arguments.plots / "plot.png", force=True)  # plots replace files of the same names
    result = measure()
    writes = dict(other_files or {})
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
