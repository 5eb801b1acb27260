"""Least-squares fits: a line, a power law, and the time of a level from the rows that were timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x by least squares; ``residual`` is the largest |y - fit| / y of the points."""

    intercept: float
    slope: float
    residual: float

    def at(self, x: float) -> float:
        """Returns the line's value at x."""
        return self.intercept + self.slope * x


def fit_line(points: Mapping[int, float]) -> Line:
    """Returns the line through the points x -> y > 0; a constant if there is only one point."""
    x, y = np.array(list(points), float), np.array(list(points.values()), float)
    slope, intercept = np.polyfit(x, y, 1) if len(x) > 1 else (0.0, y[0])
    residual = float(np.max(np.abs(intercept + slope * x - y) / y))
    return Line(float(intercept), float(slope), residual)


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns the exponent e of y ~ x^e by least squares on logarithms, and the largest |y - fit| / y."""
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    exponent, intercept = np.polyfit(log_x, log_y, 1)
    residual = float(np.max(np.abs(np.exp(intercept + exponent * log_x - log_y) - 1)))
    return float(exponent), residual


def extrapolate_rows(row_seconds: Mapping[int, float], height: int) -> tuple[float, str]:
    """Returns the seconds of rows 0 .. height - 1, and a note on the extrapolation ("" if every row was timed).

    ``row_seconds`` are the timed rows by index. A row's cost grows linearly with its index, because attention and
    re-computation read the rows above. A row that was not timed counts at least as much as the fastest timed row.
    """
    missing = [i for i in range(height) if i not in row_seconds]
    if not missing:
        return sum(row_seconds[i] for i in range(height)), ""
    line, fastest = fit_line(row_seconds), min(row_seconds.values())
    seconds = sum(row_seconds.values()) + sum(max(line.at(i), fastest) for i in missing)
    return seconds, f"{len(row_seconds)} of {height} rows timed, linear fit with a residual of {line.residual:.1%}"
