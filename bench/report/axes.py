"""What plots share: colours by implementation or precision, and the axis of sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"naive": "#888888", "eager": "#d97b29", "compiled": "#b8442c", "float32": "#2b6ca3", "int8": "#2f8f5b"}


def doubling(axes: Axes) -> None:
    """Sets a logarithmic x axis of powers of two, with a grid and a legend."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
