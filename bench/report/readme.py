"""The README's table, generated from committed results between two markers, so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloop.bench.report.figures import Figure, duration
from latentloop.bench.report.markdown import heading, peers_table
from latentloop.errors import InputError
from latentloop.io.files import write_file

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def generated(results: Sequence[dict[str, Any]]) -> str:
    """The text between the markers: a heading and a table per result, in the order given."""
    return "\n\n".join(_text(result) for result in results)


def update(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Writes the text between the file's markers. Raises InputError where they are missing, OutputError."""
    before, _, after = _split(path)
    text = f"{before}{BEGIN}\n{generated(results)}\n{END}{after}"
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), force=True)


def check(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """Raises InputError where the text between the markers is not what the results say."""
    _, found, _ = _split(path)
    expected = f"\n{generated(results)}\n"
    if found != expected:
        pairs = zip([*found.splitlines(), ""], [*expected.splitlines(), ""], strict=False)
        old, new = next(((old, new) for old, new in pairs if old != new), ("", ""))
        raise InputError(
            f"{path}: between {BEGIN} and {END} stands {old[:120]!r}, expected {new[:120]!r}: "
            "run `latentloop bench readme` without --check"
        )


def _text(result: dict[str, Any]) -> str:
    if result["kind"] == "sampling":
        return f"{heading(result)}\n\n{peers_table(result)}"
    seconds = Figure.from_json(result["seconds"])
    phases = ", ".join(f"{name} {duration(Figure.from_json(value).median)}" for name, value in result["phases"].items())
    return (
        f"`latentloop sample -n 1` from the shell, the default bundle: {duration(seconds.median)} ({seconds.note()}). "
        f"Of it: {phases}."
    )


def _split(path: Path) -> tuple[str, str, str]:
    """What stands before, between and after the markers."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as text: {error}") from error
    for marker in (BEGIN, END):
        if text.count(marker) != 1:
            raise InputError(
                f"{path}: {text.count(marker)} lines {marker}, expected one: put the two where the table goes"
            )
    before, _, rest = text.partition(BEGIN)
    if END not in rest:
        raise InputError(f"{path}: {END} stands before {BEGIN}: exchange them")
    between, _, after = rest.partition(END)
    return before, between, after
