"""Mutation testing: faults that are inserted into a source, to prove that a test detects them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A definition ends where the formatters end it: before the next line with the same indentation, or with its brace.
PYTHON = r"^( *)(?:class|def) {}\b.*?(?=^(?!\1[ )]|\n)|\Z)"
CPP = r"^( *)(?! |//)[^\n;]*\b{}\b[^;{{}}]*\{{(?:[^\n]*\}}[;,]?\n|.*?^\1\}})"
DEFINITIONS = {".py": PYTHON} | dict.fromkeys((".h", ".cpp", ".cu", ".cuh"), CPP)
ANY_CODE = r"((?:[^;{}()\[\]]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\[[^\[\]]*\])*?)"  # with whole brackets


@dataclass(frozen=True)
class Mutant:
    """A fault in one function, in whichever file of a folder: the only occurrence of ``code`` becomes ``replacement``.

    ``function``: the name of a function, or of a class; "f.g" is g within f. ``code``: white space and line breaks do
    not matter, and each "…" stands for any code within a statement, up to what follows it. In ``replacement``, "…"
    stands for the same code.
    """

    fault: str
    function: str
    code: str
    replacement: str

    def insert(self, folder: Path) -> Path:
        """Changes the file of ``folder`` and returns its path."""
        path, match = self.find(folder)
        parts = iter(match.groups())
        replacement = re.sub("…", lambda _: next(parts), self.replacement)
        text = match.string
        path.write_text(text[: match.start()] + replacement + text[match.end() :], encoding="utf-8")
        return path

    def find(self, folder: Path) -> tuple[Path, re.Match[str]]:
        """Returns the file of ``folder`` and the code. Fails if the mutant must be adapted to the sources."""
        found = {(path, match.span()): match for path in sorted(folder.rglob("*")) for match in self._matches(path)}
        problem = f"{self.code!r} occurs {len(found)} times in {self.function}, expected once"
        assert len(found) == 1, f"the mutant {self.fault!r} does not fit the sources in {folder}: {problem}"
        (((path, _), match),) = found.items()
        return path, match

    def _matches(self, path: Path) -> Iterator[re.Match[str]]:
        if path.suffix not in DEFINITIONS:
            return
        text = path.read_text(encoding="utf-8")
        regions = [(0, len(text))]
        for name in self.function.split("."):
            definition = re.compile(DEFINITIONS[path.suffix].format(re.escape(name)), re.MULTILINE | re.DOTALL)
            regions = [match.span() for region in regions for match in definition.finditer(text, *region)]
        for region in regions:
            yield from _pattern(self.code).finditer(text, *region)


def _pattern(code: str) -> re.Pattern[str]:
    def part(token: str) -> str:
        if token == "…":
            return ANY_CODE
        return rf"\b{token}\b" if token.isidentifier() or token.isalnum() else re.escape(token)

    return re.compile(r"\s*".join(map(part, re.findall(r'…|"[^"]*"|\w+|\S', code))))
