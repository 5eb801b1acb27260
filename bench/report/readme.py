"""The README's table, generated between two markers from committed results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import duration
from latentloop.bench.report.markdown import heading, implementations_table, rounds_text
from latentloop.errors import InputError
from latentloop.io.files import write_file

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def generated(results: Sequence[dict[str, Any]]) -> str:
    """Returns the text between the markers: a heading and a table per result, in the order of ``results``.

    A term is defined once, below the text that uses it first.
    """
    sections: list[str] = []
    for result in results:
        text = _text(result)
        terms = definitions(text, above="\n".join(sections))
        sections += [text, terms] if terms else [text]
    return "\n\n".join(sections)


def update(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Writes the text between the file's markers. Raises OutputError, and InputError if a marker is missing."""
    before, _, after = _split(path)
    text = f"{before}{BEGIN}\n{generated(results)}\n{END}{after}"
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), force=True)


def check(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Raises InputError if the text between the markers is not the one that ``update`` would write."""
    _, text, _ = _split(path)
    expected = f"\n{generated(results)}\n"
    if text != expected:
        pairs = zip([*text.splitlines(), ""], [*expected.splitlines(), ""], strict=False)
        old, new = next(((old, new) for old, new in pairs if old != new), ("", ""))
        raise InputError(
            f"{path}: the text between {BEGIN} and {END} has {old[:120]!r}, expected {new[:120]!r}: "
            "run `latentloop bench readme` without --check"
        )


def _text(result: dict[str, Any]) -> str:
    if result["kind"] == "sampling":
        return f"{heading(result)}\n\n{implementations_table(result)}\n\n{rounds_text(result)}"
    seconds = Figure.from_json(result["seconds"])
    by_phase = {name: Figure.from_json(value) for name, value in result["phases"].items()}
    phases = ", ".join(f"{name} {duration(figure.median)}{caveats(figure)}" for name, figure in by_phase.items())
    return (
        f"`latentloop sample -n 1` from the shell, the default bundle: {duration(seconds.median)} ({seconds.note()}). "
        f"Of it, medians too: {phases}."
    )


def _split(path: Path) -> tuple[str, str, str]:
    """Returns the text before, between and after the markers."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as text: {error}") from error
    for marker in (BEGIN, END):
        if text.count(marker) != 1:
            raise InputError(
                f"{path}: {text.count(marker)} lines {marker}, expected one: add both markers where the table belongs"
            )
    before, _, rest = text.partition(BEGIN)
    if END not in rest:
        raise InputError(f"{path}: {END} comes before {BEGIN}: swap the two lines")
    between, _, after = rest.partition(END)
    return before, between, after
