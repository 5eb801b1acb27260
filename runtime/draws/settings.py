"""The list of a draw's settings: the temperature, and the filters, all of which a code must pass.

A setting is an argument of ``Sampler.sample``, an option of ``latentloop sample``, a state buffer [B] of each prior and
a field in files of codes, with the same name everywhere. Validation, the command line, the inputs of a level's loop,
the graph builder and the manifest read this list. A new filter also needs its reference
(``export/specification/draw.py``), its nodes (``export/graphs/prior/draw.py``) and its argument of ``Sampler.sample``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DrawSetting:
    """One setting. Its values are over ``low``, or from ``low`` on, and at most ``high``."""

    name: str
    help: str  # of the option
    dtype: str  # of the state buffer
    default: float  # for a filter the value that allows every code; infinity stands for the number of codes
    low: float
    high: float
    allows_low: bool = False
    is_integer: bool = False
    lowest: float = 0.0  # in the state buffer
    since: int = 3  # the first version of the manifest in which priors have its state buffer

    @property
    def expected(self) -> str:
        """The allowed values, for error messages."""
        if self.allows_low:
            return f"from {self.low:g} to {self.high:g}"
        return f"over {self.low:g}" + (f", at most {self.high:g}" if math.isfinite(self.high) else "")

    def recorded(self, value: float) -> float | None:
        """Returns the value as files of codes record it: None for infinity, which JSON does not have."""
        return value if math.isfinite(value) else None


TEMPERATURE = DrawSetting(
    "temperature",
    help="flattens (over 1) or sharpens (under 1) every draw",
    dtype="float32",
    default=1.0,
    low=0.0,
    # float32 logits can be divided by temperatures from 1e-20 to 1e20. Lower ones draw the same codes as the lowest.
    high=1e20,
    lowest=1e-20,
)
FILTERS = (
    DrawSetting(
        "top_k",
        help="draw from the K most probable codes",
        dtype="int64",
        default=math.inf,
        low=0.0,
        high=math.inf,
        is_integer=True,
    ),
    DrawSetting(
        "top_p",
        help="draw from the most probable codes that hold this share",
        dtype="float32",
        default=1.0,
        low=0.0,
        high=1.0,
    ),
    DrawSetting(
        "min_p",
        help="draw from the codes that have at least this share of the most probable one's probability",
        dtype="float32",
        default=0.0,
        low=0.0,
        high=1.0,
        allows_low=True,
        since=4,
    ),
)
SETTINGS = {setting.name: setting for setting in (TEMPERATURE, *FILTERS)}
