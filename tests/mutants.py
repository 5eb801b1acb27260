"""Faults that are put into a source, so that tests can show that they find them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A fault: the only occurrence of ``text`` in ``file`` becomes ``replacement``."""

    fault: str
    file: str
    text: str
    replacement: str


def replace_once(source: Path, text: str, replacement: str) -> None:
    """Rewrites the file. Where the text does not occur once, the source has changed and the fault with it."""
    whole = source.read_text(encoding="utf-8")
    assert whole.count(text) == 1, f"{source.name}: {text!r} occurs {whole.count(text)} times"
    source.write_text(whole.replace(text, replacement), encoding="utf-8")
