"""``latentloop bench nearest``: the search of a codebook against its peers, and against matrix products."""

from __future__ import annotations

from typing import Any

from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.environment import environment
from latentloop.bench.machine.gemm import best
from latentloop.bench.nearest.baselines import OURS, PEERS
from latentloop.bench.report.figures import Figure, duration, quantity
from latentloop.bench.report.result_files import result

SEARCHES = ((65536, 64, 512), (8192, 64, 16384), (1, 64, 512), (1, 64, 16384))  # N, D, K
GEMM_SIZE = 1536


def measure(
    threads: int, rounds: int = 3, seconds: float = 0.5, searches: tuple[tuple[int, int, int], ...] = SEARCHES
) -> dict[str, Any]:
    """Every peer in turn, ``rounds`` times, each in a process of its own, as plain JSON types."""
    rates: list[float] = []
    taken: dict[str, list[Any]] = {name: [] for name in PEERS}
    for _ in range(rounds):
        options: dict[str, Any] = {"threads": threads, "size": GEMM_SIZE, "seconds": seconds}
        rates.append(best(in_child("machine.gemm", "measure_gemm", options, threads)["float32"])[1])
        for name, of in taken.items():
            options = {"peer": name, "searches": searches, "threads": threads, "budget": seconds}
            of.append(in_child("nearest.baselines", "time_peer", options, threads))
    missing = {name: of[0] for name, of in taken.items() if isinstance(of[0], str)}
    timed = {name: of for name, of in taken.items() if name not in missing}
    return result(
        "nearest",
        environment(threads),
        gemm=Figure(tuple(rates), "GFLOP/s").to_json(),
        missing=missing,
        searches=[
            {
                "vectors": n,
                "dimensions": d,
                "codewords": k,
                "peers": {name: _peer([of[number] for of in rounds]) for name, rounds in timed.items()},
            }
            for number, (n, d, k) in enumerate(searches)
        ],
    )


def _peer(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """One peer's rounds of one search."""
    seconds = Figure(tuple(found["seconds"] for found in rounds), "s")
    return {
        "seconds": seconds.to_json(),
        "added_bytes": max(found["bytes"] for found in rounds),
        "nearest": min(found["nearest"] for found in rounds),
    }


def table(found: dict[str, Any]) -> str:
    """Every search as Markdown, with what explains it."""
    gemm = Figure.from_json(found["gemm"])
    lines = [f"float32 matrix products here: {gemm.median:.0f} GFLOP/s ({gemm.note()})"]
    lines += [f"{name}: {reason}" for name, reason in found["missing"].items()]
    for search in found["searches"]:
        n, d, k = search["vectors"], search["dimensions"], search["codewords"]
        times = {name: Figure.from_json(of["seconds"]) for name, of in search["peers"].items()}
        others = {name: time.median for name, time in times.items() if name != OURS}
        lines += ["", f"N = {n}, D = {d}, K = {k}", "", "| | time | | GFLOP/s | added memory | as the reference |"]
        lines += ["|---|---|---|---|---|---|"]
        for name, time in times.items():
            peer = search["peers"][name]
            rate = f"{2 * n * d * k / time.median / 1e9:.0f}"
            memory = quantity(peer["added_bytes"], "B")
            lines.append(
                f"| {name} | {duration(time.median)} | {time.note()} | {rate} | {memory} | {peer['nearest']:.0%} |"
            )
        fastest = min(others, key=lambda name: others[name], default=None)
        if fastest is not None:
            ratio, share = others[fastest] / times[OURS].median, 2e-9 * n * d * k / times[OURS].median / gemm.median
            lines += ["", f"{ratio:.2f} times as fast as {fastest}, at {share:.0%} of the rate of matrix products."]
    return "\n".join(lines)
