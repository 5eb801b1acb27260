"""The raw measurements of one implementation, before figures are computed from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentloop.bench.baselines.timing import Timing


@dataclass
class Record:
    """All measurements of one implementation, over all parts of a hierarchy."""

    title: str
    unavailable: str = ""  # why the implementation cannot run here
    load: float = 0.0  # seconds
    compile_seconds: dict[str, float] = field(default_factory=dict)
    timings: dict[tuple[str, int], list[Timing]] = field(default_factory=dict)  # by level and batch, one per round
    decode: dict[int, list[float]] = field(default_factory=dict)  # seconds by number of images at once
    encode: dict[int, list[float]] = field(default_factory=dict)
    peak: dict[str, Any] = field(default_factory=dict)
    difference: float | None = None  # of its logits, in standard deviations
