"""The list of a draw's settings: the temperature, and the filters, all of which a code must pass.

A setting is an argument of ``Sampler.sample``, an option of ``latentloop sample``, a state buffer [B] of each prior and
a field in files of codes, with the same name everywhere. Validation, the command line, the inputs of a level's loop,
the graph builder and the manifest read this list. A new filter also needs its reference
(``runtime/draws/reference.py``), its nodes (``export/graphs/prior/draw.py``) and its argument of ``Sampler.sample``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DrawSetting:
    """One setting. Its values are over ``low``, or from ``low`` on, and at most ``high``."""

    name: str
    dtype: str  # of the state buffer
    help: str  # of the option
    default: float  # for a filter the value that allows every code; infinity stands for the number of codes
    strict: float  # a value with a large effect, with which `verify` draws
    low: float = 0.0
    high: float = 1.0
    allows_low: bool = False
    is_integer: bool = False
    lowest: float = 0.0  # in the state buffer
    since: int = 3  # the first version of the manifest in which priors have its state buffer

    @property
    def expected(self) -> str:
        """The allowed values, for error messages."""
        if self.is_integer:
            return f"an integer from {self.low + 1:g}"
        if self.allows_low:
            return f"from {self.low:g} to {self.high:g}"
        return f"over {self.low:g}" + (f", at most {self.high:g}" if math.isfinite(self.high) else "")

    def recorded(self, value: float) -> float | None:
        """Returns the value as files of codes record it: None for infinity, which JSON does not have."""
        return value if math.isfinite(value) else None


# float32 logits can be divided by temperatures from 1e-20 to 1e20. Lower ones draw the same codes as the lowest.
TEMPERATURE = DrawSetting(
    "temperature", "float32", "flattens (over 1) or sharpens (under 1) every draw", 1.0, 0.1, high=1e20, lowest=1e-20
)
TOP_K = DrawSetting(
    "top_k", "int64", "draw from the K most probable codes", math.inf, 2, high=math.inf, is_integer=True
)
TOP_P = DrawSetting("top_p", "float32", "draw from the most probable codes that hold this share", 1.0, 0.5)
MIN_P = DrawSetting(
    "min_p",
    "float32",
    "leave out codes under this share of the highest probability",
    0.0,
    0.9,
    allows_low=True,
    since=4,
)
FILTERS = (TOP_K, TOP_P, MIN_P)
SETTINGS = {setting.name: setting for setting in (TEMPERATURE, *FILTERS)}
