"""Work that is recorded instead of enqueued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fake_gpu.memory import Range, united
from fake_gpu.order import Run


@dataclass(eq=False)
class Captured:
    """A stream's work in order. ``touched`` is there once the capture is over, and stays None if that failed."""

    device: int
    parts: list[tuple[Run, Sequence[Range]]] = field(default_factory=list)
    touched: list[Range] | None = None
    is_spoilt: bool = False

    def end(self) -> None:
        self.touched = united(part for _, touched in self.parts for part in touched)

    def run(self) -> None:
        for run, _ in self.parts:
            run()


@dataclass(frozen=True)
class CapturedMark:
    """A mark in work that is being captured: it means nothing outside."""

    captured: Captured
