"""What one run takes of one peer, before figures are made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentloop.bench.baselines.baseline import Timing


@dataclass
class Record:
    """Everything that was taken of one peer, over all parts."""

    name: str
    reason: str = ""  # why it is not available
    load: float = 0.0  # seconds
    compile_seconds: dict[str, float] = field(default_factory=dict)
    timings: dict[tuple[str, int], list[Timing]] = field(default_factory=dict)  # by level and batch, a round each
    decode: dict[int, list[float]] = field(default_factory=dict)  # seconds by images at once
    encode: dict[int, list[float]] = field(default_factory=dict)
    peak: dict[str, Any] = field(default_factory=dict)
    difference: float | None = None  # of its logits, in standard deviations
