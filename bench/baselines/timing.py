"""Timed rows of one level, and the whole level's time computed from them."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentloop.bench.figures.fits import extrapolate_rows


@dataclass
class Timing:
    """Seconds of some rows of one level in one round, for a batch of images.

    ``rows`` holds the wall time of whole rows by index; ``row_graph`` and ``steps`` the times of the row graph and of
    each step within them. A step's time covers all its columns. The rest of a row is the host's overhead.
    If only one step of each row was timed, ``steps`` repeats it, and ``note`` says so; otherwise ``note`` is "".
    """

    condition: float = 0.0
    rows: dict[int, float] = field(default_factory=dict)
    row_graph: dict[int, float] = field(default_factory=dict)
    steps: dict[int, list[float]] = field(default_factory=dict)
    note: str = ""

    def columns(self, width: int) -> int:
        """Returns the columns per step, from the number of steps in a row of ``width`` columns."""
        return next((width // len(steps) for steps in self.steps.values()), 1)

    @property
    def timed_steps(self) -> int:
        """How many steps were timed; one a row if the others of the row are estimated from it."""
        return len(self.steps) if self.note else sum(map(len, self.steps.values()))

    def host(self, row: int) -> float:
        """Returns the seconds of a row outside its graphs."""
        return self.rows[row] - self.row_graph.get(row, 0.0) - sum(self.steps.get(row, ()))


@dataclass(frozen=True)
class Scale:
    """How many times longer the full level's graphs take than the timed level's: 1 if the two are the same."""

    condition: float = 1.0
    row: float = 1.0
    step: float = 1.0
    note: str = ""  # how the factors were estimated


def level_seconds(timing: Timing, height: int, scale: Scale = Scale()) -> tuple[float, str]:
    """Returns the seconds of a whole level for a batch, and a note on the extrapolation, "" if all was timed."""
    rows = {
        i: timing.host(i) + scale.row * timing.row_graph.get(i, 0.0) + scale.step * sum(timing.steps.get(i, ()))
        for i in timing.rows
    }
    seconds, note = extrapolate_rows(rows, height)
    return timing.condition * scale.condition + seconds, "; ".join(filter(None, (note, timing.note, scale.note)))
