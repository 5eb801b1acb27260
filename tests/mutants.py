"""Mutation testing: faults that are inserted into a source, to prove that a test detects them."""

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
    """Replaces the text in the file. If it does not occur exactly once, the mutant must be adapted to the source."""
    content = source.read_text(encoding="utf-8")
    assert content.count(text) == 1, f"{source.name}: {text!r} occurs {content.count(text)} times"
    source.write_text(content.replace(text, replacement), encoding="utf-8")
