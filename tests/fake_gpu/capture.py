"""Work that is captured from a stream, as in a CUDA graph, and replayed later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fake_gpu.accesses import Access, merge_accesses
from fake_gpu.scheduler import Run


@dataclass(eq=False)
class CapturedWork:
    """The captured work of a stream. ``accesses`` is None until the capture has ended without error."""

    device: int
    parts: list[tuple[Run, Sequence[Access]]] = field(default_factory=list)
    accesses: list[Access] | None = None
    is_invalidated: bool = False

    def end(self) -> None:
        """Sets ``accesses``, the memory accesses of the whole capture."""
        self.accesses = merge_accesses(access for _, accesses in self.parts for access in accesses)

    def run(self) -> None:
        for run, _ in self.parts:
            run()


@dataclass(frozen=True)
class CapturedEvent:
    """An event that was recorded during a capture. Only work of the same capture can wait for it."""

    captured: CapturedWork
