"""Where the time of ``latentloop sample -n 1`` goes: whole processes, and as many that note the time between phases.

The second kind does what the command does, in its order (``cold_start_phases``). What the phases leave open is the
rest of the command: finding it, parsing options, the progress bar, and the end of the process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from latentloop.bench.machine.environment import environment
from latentloop.bench.report.figures import Figure, duration
from latentloop.bench.report.result_files import result
from latentloop.bench.sampling import cold_start_phases
from latentloop.errors import LatentLoopError
from latentloop.io.files import scratch_directory

PHASES = ("interpreter", "imports", "bundle verification", "graph loading", "sampling", "decode and write")
SLOWEST = 8  # imports listed


def measure(repeats: int = 7, threads: int | None = None) -> dict[str, Any]:
    """Times ``repeats`` processes of each kind, in turn, as plain JSON types. Raises LatentLoopError."""
    limit = threads or len(os.sched_getaffinity(0))
    whole: list[float] = []
    phases: dict[str, list[float]] = {name: [] for name in PHASES}
    with scratch_directory() as folder:
        out = folder / "sample.png"
        command = [sys.executable, "-c", "import sys; from latentloop.cli.program import main; sys.exit(main())"]
        command += ["sample", "-n", "1", "--seed", "1", "--threads", str(limit), "--out", str(out), "--force"]
        for number in range(repeats + 1):  # the first warms the file cache
            begin = time.perf_counter()
            _run(command)
            seconds = time.perf_counter() - begin
            started = time.monotonic()
            marks = json.loads(_run([sys.executable, "-P", cold_start_phases.__file__, str(limit), str(out)]))
            if number:
                whole.append(seconds)
                for name, begin, end in zip(PHASES, [started, *marks], marks, strict=False):
                    phases[name].append(end - begin)
        imports = _imports()
    return result(
        "cold-start",
        environment(limit),
        seconds=Figure(tuple(whole), "s").to_json(),
        phases={name: Figure(tuple(samples), "s").to_json() for name, samples in phases.items()},
        slowest_imports=imports,
    )


def table(found: dict[str, Any]) -> str:
    """The phases as Markdown, and the slowest imports."""
    seconds = Figure.from_json(found["seconds"])
    phases = {name: Figure.from_json(value) for name, value in found["phases"].items()}
    rest = seconds.median - sum(figure.median for figure in phases.values())
    whole = f"{duration(seconds.median)} ({seconds.note()})"
    lines = [f"`latentloop sample -n 1`, the default bundle, whole processes: {whole}"]
    lines += ["", "| phase | | |", "|---|---|---|"]
    for name, figure in phases.items():
        lines.append(f"| {name} | {duration(figure.median)} | {figure.median / seconds.median:.0%} |")
    rest = max(0.0, rest)
    lines.append(f"| options, progress, end of the process | {duration(rest)} | {rest / seconds.median:.0%} |")
    slowest = ", ".join(f"{name} {duration(value)}" for name, value in found["slowest_imports"].items())
    largest = max(phases, key=lambda name: phases[name].median)
    return "\n".join([*lines, "", f"Bound by {largest}.", f"Slowest packages to import (`-X importtime`): {slowest}"])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit status {done.returncode}")
        raise LatentLoopError(f"`latentloop sample -n 1` failed, so there is nothing to time: {last}")
    return done.stdout


def _imports() -> dict[str, float]:
    """Seconds of the slowest packages that the command imports, each with what it alone pulls in, longest first."""
    modules = ["cli.commands.sample", "sampling.sampler", "images.writing"]
    code = f"import {', '.join(f'latentloop.{name}' for name in modules)}, tqdm, PIL.Image, PIL.PngImagePlugin"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False)
    return import_times(done.stderr)


def import_times(text: str) -> dict[str, float]:
    """The output of ``-X importtime`` as seconds by top-level package: the sum of its modules' own times."""
    found: dict[str, float] = {}
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", text):
        package = name.partition(".")[0]
        found[package] = found.get(package, 0.0) + int(own) / 1e6
    return dict(sorted(found.items(), key=lambda item: -item[1])[:SLOWEST])
