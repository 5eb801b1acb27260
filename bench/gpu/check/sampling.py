"""Sampling on a GPU: do drivers, hosts and backends compute what they should, and how fast are they and their peers?

python3 -m latentloop.bench.gpu.check.sampling --out FOLDER

Every part runs in a process of its own, for as long as it is worth; one that fails is listed, and the rest goes on.
Writes FOLDER/gpu-sampling.json. The exit status is 1 where no backend ran, no check was made, or one failed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.bench.gpu.check.machine import machine
from latentloop.bench.gpu.check.part import run_part
from latentloop.bench.gpu.check.report import describe, floors, images, reasons
from latentloop.bench.report.result_files import result, write_result
from latentloop.io.files import check_free

PRESET, LARGE = "rosinality-256", "paper-256"


@dataclass(frozen=True)
class Part:
    """One part: its module, the seconds that it may take, and its arguments."""

    module: str
    limit: float
    arguments: dict[str, Any]


def plan(bundle: str) -> list[Part]:
    """What is measured, the most important first. ``bundle`` is where the part before its users puts one."""

    def peers(preset: str, limit: float, types: list[str], batches: list[int], *ways: str) -> Part:
        values = {"preset": preset, "types": types, "batches": batches, "ways": list(ways), "device": "cuda"}
        return Part("gpu.check.baselines", limit, values)

    both = ["float32", "float16"]
    return [
        Part("gpu.check.driver", 30, {}),
        Part("gpu.check.bound", 30, {"device": "cuda"}),
        Part("gpu.check.bundle", 75, {"preset": PRESET, "target": bundle}),
        Part("gpu.check.backends", 120, {"bundle": bundle, "budget": 60}),
        Part("gpu.check.host", 75, {"bundle": bundle, "budget": 45}),
        peers(PRESET, 90, both, [1, 16], "naive", "eager"),
        peers(LARGE, 75, ["float32"], [1], "naive", "eager"),
        peers(PRESET, 150, ["float32"], [1], "compiled"),
        peers(PRESET, 60, ["float32"], [1], "compiled-calls"),
    ]


def run_parts(parts: list[Part], budget: float) -> list[dict[str, Any]]:
    """What each part found, in order, within ``budget`` seconds altogether."""
    until = time.monotonic() + budget
    found = []
    for part in parts:
        arguments = dict(part.arguments)
        if "bundle" in arguments and not Path(arguments["bundle"]).is_dir():
            arguments["bundle"] = None
        left = until - time.monotonic()
        print(f"-- {part.module}, at most {min(part.limit, left):.0f} s", flush=True)
        if left < 5:
            outcome = {"name": part.module, "seconds": 0.0, "error": "no time was left for it", "findings": []}
        else:
            outcome = run_part(part.module, min(part.limit, left), arguments)
        if outcome["error"]:
            print(f"   {outcome['error']}", flush=True)
        found.append({**outcome, "arguments": part.arguments})
    return found


def main(arguments: list[str]) -> int:
    """Runs every part; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m latentloop.bench.gpu.check.sampling")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where gpu-sampling.json goes")
    parser.add_argument("--commit", help="of the tree, where that is no repository")
    parser.add_argument("--minutes", type=float, default=6, help="for all parts together (default: 6)")
    given = parser.parse_args(arguments)
    path = given.out / "gpu-sampling.json"
    check_free(path, force=True)
    with tempfile.TemporaryDirectory() as folder:
        parts = run_parts(plan(str(Path(folder) / PRESET)), 60 * given.minutes)
    failures = reasons(parts)
    measured_on = machine(given.commit)
    measured_on["command"] = f"python3 -m latentloop.bench.gpu.check.sampling {shlex.join(arguments)}"
    value = result(
        "gpu-sampling", measured_on, parts=parts, floors=floors(parts), images=images(parts), failures=failures
    )
    write_result(path, value, force=True)
    print(describe(parts))
    print("\n".join(f"FAILED: {reason}" for reason in failures) or "everything that could run here is right")
    print(f"{path} written")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
