"""The time of ``latentloop sample -n 1``: whole processes, and processes that record the end of each phase.

The second kind performs the command's work in the same order (``cold_start_phases``). The remainder of the whole time
is the rest of the command: finding it, parsing options, the progress bar, and the end of the process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import duration, markdown_table
from latentloop.bench.machine.environment import environment
from latentloop.bench.sampling import cold_start_phases
from latentloop.environment.machine import available_threads
from latentloop.errors import LatentLoopError
from latentloop.io.files import scratch_directory

PHASES = ("interpreter", "imports", "bundle verification", "graph loading", "sampling", "decode and write")
SLOWEST = 8  # imports listed


def measure(repeats: int = 7, threads: int | None = None) -> dict[str, Any]:
    """Times ``repeats`` processes of each kind, alternating; returns plain JSON types. Raises LatentLoopError."""
    limit = threads or available_threads()
    whole: list[float] = []
    phases: dict[str, list[float]] = {name: [] for name in PHASES}
    with scratch_directory() as folder:
        out = folder / "sample.png"
        command = [sys.executable, "-c", "import sys; from latentloop.cli.program import main; sys.exit(main())"]
        command += ["sample", "-n", "1", "--seed", "1", "--threads", str(limit), "--out", str(out), "--force"]
        for number in range(repeats + 1):  # the first fills the file cache
            begin = time.perf_counter()
            _run(command)
            seconds = time.perf_counter() - begin
            started = time.monotonic()
            ends = json.loads(_run([sys.executable, "-P", cold_start_phases.__file__, str(limit), str(out)]))
            if number:
                whole.append(seconds)
                for name, begin, end in zip(PHASES, [started, *ends], ends, strict=False):
                    phases[name].append(end - begin)
        imports = _slowest_imports()
    return new_result(
        "cold-start",
        environment(limit),
        seconds=Figure(tuple(whole), "s").to_json(),
        phases={name: Figure(tuple(samples), "s").to_json() for name, samples in phases.items()},
        slowest_imports=imports,
    )


def table(result: dict[str, Any]) -> str:
    """Returns the phases as Markdown, and the slowest imports."""
    seconds = Figure.from_json(result["seconds"])
    phases = {name: Figure.from_json(value) for name, value in result["phases"].items()}
    rest = max(0.0, seconds.median - sum(figure.median for figure in phases.values()))
    whole = f"{duration(seconds.median)} ({seconds.note()})"
    phases["options, progress, end of the process"] = Figure((rest,), "s")
    rows = [
        [name, duration(figure.median) + caveats(figure), f"{figure.median / seconds.median:.0%}"]
        for name, figure in phases.items()
    ]
    heading = f"`latentloop sample -n 1`, the default bundle, whole processes: {whole}\n"
    slowest = ", ".join(f"{name} {duration(value)}" for name, value in result["slowest_imports"].items())
    largest = max(PHASES, key=lambda name: phases[name].median)
    notes = f"\nThe longest phase is {largest}.", f"Slowest packages to import (`-X importtime`): {slowest}"
    table = markdown_table(["phase", "median", "share of the whole"], rows)
    text = "\n".join([heading, table, *notes])
    return f"{text}\n\n{definitions(text)}".rstrip()


def _run(command: Sequence[str]) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        last = next(iter(reversed(process.stderr.strip().splitlines())), f"exit status {process.returncode}")
        raise LatentLoopError(f"`latentloop sample -n 1` failed, so it cannot be timed: {last}")
    return process.stdout


def _slowest_imports() -> dict[str, float]:
    """Returns the seconds of the slowest packages that the command imports, slowest first."""
    modules = ["cli.commands.sample", "sampling.sampler", "images.writing"]
    code = f"import {', '.join(f'latentloop.{name}' for name in modules)}, PIL.Image, PIL.PngImagePlugin"
    command = [sys.executable, "-X", "importtime", "-c", code]
    return import_times(subprocess.run(command, capture_output=True, text=True, check=False).stderr)


def import_times(text: str) -> dict[str, float]:
    """Reads the output of ``-X importtime``; returns seconds by top-level package, the sum of its modules' own times.

    Only the ``SLOWEST`` packages are returned, slowest first.
    """
    seconds: dict[str, float] = {}
    for microseconds, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", text):
        package = module.partition(".")[0]
        seconds[package] = seconds.get(package, 0.0) + int(microseconds) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1])[:SLOWEST])
