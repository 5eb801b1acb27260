"""Plots of ``latentloop bench samples --judge``: a line for each setting, a point for each value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^v"


def over(x: str, y: str) -> Callable[[Axes, dict[str, Any]], None]:
    """Returns a function that draws one figure of the points against another, both named as in the result."""

    def draw(axes: Axes, result: dict[str, Any]) -> None:
        for curve, marker in zip(result["curves"], MARKERS, strict=False):
            points = sorted(curve["points"], key=lambda point: float(point["value"]))
            xs, ys = ([point[name] for point in points] for name in (x, y))
            axes.plot(xs, ys, marker=marker, markersize=5, linewidth=1.2, label=curve["setting"].replace("_", "-"))
            for point in points:
                axes.annotate(
                    f"{point['value']:g}", (point[x], point[y]), (4, 4), textcoords="offset points", fontsize=7
                )
        labels = [name.replace("_", " ").replace("frechet", "Fréchet") for name in (x, y)]
        title = f"{result['bundle']['name']}: {result['images']} samples for each point"
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)

    return draw
