"""``latentloop bench nearest``: codebook searches against baselines and against the rate of matrix products."""

from __future__ import annotations

from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.terms import definitions
from latentloop.bench.figures.text import duration, markdown_table, quantity
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.environment import environment
from latentloop.bench.machine.gemm import measure_gemm
from latentloop.bench.machine.peaks import best
from latentloop.bench.nearest.baselines import CHECKED, LATENTLOOP, SEARCHES, time_search

SHAPES = ((65536, 64, 512), (8192, 64, 16384), (1, 64, 512), (1, 64, 16384))  # N, D, K
GEMM_SIZE = 1536


def measure(
    threads: int, rounds: int = 3, seconds: float = 0.5, shapes: tuple[tuple[int, int, int], ...] = SHAPES
) -> dict[str, Any]:
    """Times every implementation in turn, ``rounds`` times, each in a process of its own; returns plain JSON types."""
    rates: list[float] = []
    rounds_by_name: dict[str, list[Any]] = {name: [] for name in SEARCHES}
    for _ in range(rounds):
        options: dict[str, Any] = {"threads": threads, "size": GEMM_SIZE, "seconds": seconds}
        rates.append(best(in_child(measure_gemm, options, threads)["float32"])[1])
        for name, measured in rounds_by_name.items():
            options = {"name": name, "shapes": shapes, "threads": threads, "budget": seconds}
            measured.append(in_child(time_search, options, threads))
    missing = {name: measured[0] for name, measured in rounds_by_name.items() if isinstance(measured[0], str)}
    timed = {name: measured for name, measured in rounds_by_name.items() if name not in missing}
    return new_result(
        "nearest",
        environment(threads),
        gemm=Figure(tuple(rates), "GFLOP/s").to_json(),
        missing=missing,
        searches=[
            {
                "vectors": n,
                "dimensions": d,
                "codewords": k,
                "peers": {name: _summary([by_shape[index] for by_shape in timed[name]]) for name in timed},
            }
            for index, (n, d, k) in enumerate(shapes)
        ],
    )


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures of one implementation and one shape, over all rounds."""
    return {
        "seconds": Figure(tuple(measured["seconds"] for measured in rounds), "s").to_json(),
        "added_bytes": max(measured["bytes"] for measured in rounds),
        "nearest": min(measured["nearest"] for measured in rounds),
    }


def table(result: dict[str, Any]) -> str:
    """Returns every search as Markdown, with its speed-up over the fastest baseline."""
    gemm = Figure.from_json(result["gemm"])
    lines = [f"float32 matrix products here: {gemm.median:.0f} GFLOP/s ({gemm.note()})"]
    lines += [f"{name}: {reason}" for name, reason in result["missing"].items()]
    for search in result["searches"]:
        n, d, k = search["vectors"], search["dimensions"], search["codewords"]
        times = {name: Figure.from_json(measured["seconds"]) for name, measured in search["peers"].items()}
        baselines = {name: time.median for name, time in times.items() if name != LATENTLOOP}
        rows = []
        for name, time in times.items():
            measured = search["peers"][name]
            rate = f"{2 * n * d * k / time.median / 1e9:.0f}"
            memory = quantity(measured["added_bytes"], "B")
            rows.append([name, duration(time.median), time.note(), rate, memory, f"{measured['nearest']:.0%}"])
        header = ["implementation", "median time", "measured", "GFLOP/s", "added memory", "same as reference"]
        lines += ["", f"N = {n}, D = {d}, K = {k}", "", markdown_table(header, rows)]
        fastest = min(baselines, key=lambda name: baselines[name], default=None)
        if fastest is not None:
            latentloop = times[LATENTLOOP].median
            ratio, share = baselines[fastest] / latentloop, 2e-9 * n * d * k / latentloop / gemm.median
            lines += ["", f"{ratio:.2f} times as fast as {fastest}, at {share:.0%} of the rate of matrix products."]
    text = "\n".join(lines)
    legend = (
        "*added memory*: what a search adds to the peak of resident memory; its inputs and the prepared codebook "
        f"were there. *same as reference*: of the first {CHECKED} vectors, the share with the index that float64 gives."
    )
    return f"{text}\n\n{legend} {definitions(text)}"
