"""What a measurement is worth: its median, its spread, and what was extrapolated rather than timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

UNSTABLE = 0.10  # a spread above this says that the machine did something else


@dataclass(frozen=True)
class Figure:
    """One quantity, measured once per round. ``extrapolated`` says how, where not all of it was timed."""

    samples: tuple[float, ...]
    unit: str
    extrapolated: str = ""

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / median; None for a single sample."""
        return (max(self.samples) - min(self.samples)) / self.median if len(self.samples) > 1 else None

    @property
    def unstable(self) -> bool:
        """Whether the spread is over 10 %."""
        return self.spread is not None and self.spread > UNSTABLE

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, the derived numbers included."""
        return {
            **asdict(self),
            "samples": list(self.samples),
            "median": self.median,
            "spread": self.spread,
            "unstable": self.unstable,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Figure:
        """What ``to_json`` wrote; the derived numbers are derived again."""
        return Figure(tuple(values["samples"]), values["unit"], values["extrapolated"])

    def note(self) -> str:
        """``median of 3, spread 2 %``, with what a reader must know beside it."""
        text = f"median of {len(self.samples)}" if len(self.samples) > 1 else "one run"
        if self.spread is not None:
            text += f", spread {self.spread:.0%}" + (", unstable" if self.unstable else "")
        return f"{text}, extrapolated: {self.extrapolated}" if self.extrapolated else text


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x by least squares; ``residual`` is the largest |y - fit| / y of the points."""

    intercept: float
    slope: float
    residual: float

    def at(self, x: float) -> float:
        """The line's value."""
        return self.intercept + self.slope * x


def fit_line(points: Mapping[int, float]) -> Line:
    """The line through points x -> y > 0; a constant where there is one point only."""
    x, y = np.array(list(points), float), np.array(list(points.values()), float)
    slope, intercept = np.polyfit(x, y, 1) if len(x) > 1 else (0.0, y[0])
    residual = float(np.max(np.abs(intercept + slope * x - y) / y))
    return Line(float(intercept), float(slope), residual)


def whole(rows: Mapping[int, float], height: int) -> tuple[float, str]:
    """Seconds of rows 0 .. height - 1 from those timed (row -> seconds), and how they were extrapolated, if they were.

    A row's cost grows linearly with its index (attention and re-computation see the rows above); a row that was not
    timed counts at least as much as the cheapest that was.
    """
    missing = [i for i in range(height) if i not in rows]
    if not missing:
        return sum(rows[i] for i in range(height)), ""
    line, least = fit_line(rows), min(rows.values())
    seconds = sum(rows.values()) + sum(max(line.at(i), least) for i in missing)
    return seconds, f"{len(rows)} of {height} rows timed, linear fit with a residual of {line.residual:.1%}"


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """The exponent e of y ~ x^e by least squares on logarithms, and the largest |y - fit| / y of the points."""
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    exponent, intercept = np.polyfit(log_x, log_y, 1)
    residual = float(np.max(np.abs(np.exp(intercept + exponent * log_x - log_y) - 1)))
    return float(exponent), residual


def percentile(samples: Sequence[float], percent: float) -> float:
    """Linear interpolation between the two nearest samples."""
    return float(np.percentile(np.asarray(samples, float), percent))


def duration(seconds: float) -> str:
    """Three digits in a readable unit: µs, ms, s, min or h."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h" if seconds < 3.6e6 else f"{seconds / 3600:.0f} h"


def quantity(value: float, unit: str) -> str:
    """Three digits with a decimal prefix: ``12.3 MB``, ``0.71 TFLOP``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor / 2:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
