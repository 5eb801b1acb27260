"""The findings of one part of the check, written to a file one by one, so that they survive a crash of the part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Finding = dict[str, Any]  # ``kind``: check, timing, fact, missing or error
LONGEST_ERROR = 600  # characters


class Findings:
    """Writes findings to a file, one line of JSON each, and prints them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, name: str, passed: bool, **values: Any) -> None:
        """Adds the result of a comparison. ``backend`` in ``values`` names the backend that was checked."""
        self._add("check", name, passed=bool(passed), **values)

    def timing(self, name: str, **values: Any) -> None:
        """Adds measured seconds."""
        self._add("timing", name, **values)

    def fact(self, name: str, **values: Any) -> None:
        """Adds other information, such as measured rates."""
        self._add("fact", name, **values)

    def missing(self, name: str, why: str) -> None:
        """Adds something that cannot run here, and the reason."""
        self._add("missing", name, why=why)

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Adds an error raised in the block as a finding, and suppresses it."""
        try:
            yield
        except Exception as error:  # of any library
            self._add("error", name, error=f"{type(error).__name__}: {error}"[:LONGEST_ERROR])

    def _add(self, kind: str, name: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, "name": name, **values})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def read_findings(path: Path) -> list[Finding]:
    """Reads the findings in a file; none if the file does not exist."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
