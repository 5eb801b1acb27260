"""A measured quantity: its median, its spread, and how it was extrapolated if not all of it was timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latentloop.bench.figures.fits import poor_fit

UNSTABLE = 0.10  # a larger spread means that the machine did other work meanwhile
NOT_SCALED = "not scaled"


@dataclass(frozen=True)
class Figure:
    """One quantity, measured once per round. ``extrapolated`` says how it was extrapolated; "" if all was timed.

    A figure of a smaller model that was not scaled says so there as well: "1 of 4 blocks timed, ``NOT_SCALED``".
    """

    samples: tuple[float, ...]
    unit: str
    extrapolated: str = ""

    @property
    def median(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / median; None for a single sample."""
        return (max(self.samples) - min(self.samples)) / self.median if len(self.samples) > 1 else None

    @property
    def unstable(self) -> bool:
        """Whether the spread exceeds 10 %."""
        return self.spread is not None and self.spread > UNSTABLE

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader must know of the figure, in the words of ``terms.TERMS``; empty if all of it was timed."""
        reduced = self.extrapolated.endswith(NOT_SCALED)
        marks = {
            "fewer layers": reduced,
            "extrapolated": bool(self.extrapolated) and not reduced,
            "poor fit": poor_fit(self.extrapolated),
            "unstable": self.unstable,
        }
        return tuple(name for name, holds in marks.items() if holds)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON types, the derived numbers included."""
        return {
            **asdict(self),
            "samples": list(self.samples),
            "median": self.median,
            "spread": self.spread,
            "unstable": self.unstable,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Figure:
        """Reads what ``to_json`` wrote. Derived numbers are computed again."""
        return Figure(tuple(values["samples"]), values["unit"], values["extrapolated"])

    def note(self) -> str:
        """Returns for example ``median of 3, spread 2%``, followed by instability and extrapolation if any."""
        text = f"median of {len(self.samples)}" if len(self.samples) > 1 else "one run"
        if self.spread is not None:
            text += f", spread {self.spread:.0%}" + (", unstable" if self.unstable else "")
        if "poor fit" in self.caveats:
            text += ", poor fit"
        return f"{text}, extrapolated: {self.extrapolated}" if self.extrapolated else text


def percentile(samples: Sequence[float], percent: float) -> float:
    """Returns the percentile by linear interpolation between the two nearest samples."""
    return float(np.percentile(np.asarray(samples, float), percent))
