"""Runs of the two hosts as whole processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentloop.bench.embedding import python_host
from latentloop.bench.embedding.programs import Programs
from latentloop.errors import LatentLoopError

HOSTS = ("C++", "Python")
SEED = 1  # of the first image
# Until the first image: what each phase ends with is in ``ends`` of host.cpp.
PHASES = ("start of the process", "imports", "bundle verification", "sampler", "graphs and first image")


@dataclass(frozen=True)
class Task:
    """What both hosts draw: images of a bundle, one at a time."""

    bundle: Path
    precision: str
    threads: int


@dataclass(frozen=True)
class Run:
    """What a process measured. Times are in seconds, memory in bytes."""

    phases: tuple[float, ...]  # PHASES
    process: float  # from the start to the end of the process
    images: tuple[float, ...]  # of each image after the first
    graphs: float  # in runs of graphs, for these images; 0 if they were not timed
    graph_runs: int
    peak: int
    crc: int  # of the codes

    @property
    def first_image(self) -> float:
        """Seconds from the start of the process to the first image."""
        return sum(self.phases)

    @property
    def image(self) -> float:
        """Seconds of an image after the first, the mean."""
        return sum(self.images) / len(self.images)

    @property
    def outside(self) -> float:
        """The share of an image's time that is outside the graphs, if they were timed."""
        return 1 - self.graphs / sum(self.images)


def run_host(host: str, programs: Programs, task: Task, count: int, timed: bool = False) -> Run:
    """Draws one image and ``count`` more in a process of one of ``HOSTS``. ``timed``: also times the runs of graphs.

    Raises LatentLoopError with the last line that the process printed.
    """
    arguments = [str(task.bundle), task.precision, str(task.threads), str(SEED), str(count)]
    if host == "Python":
        command = [sys.executable, "-P", python_host.__file__, *arguments, *(["--timed"] if timed else [])]
        return _run(host, command, {})
    library = programs.timed_onnxruntime if timed else programs.onnxruntime
    variables = {"LATENTLOOP_ONNXRUNTIME": library, "LATENTLOOP_BENCH_ONNXRUNTIME": programs.onnxruntime}
    return _run(host, [str(programs.host), *arguments], {name: str(path) for name, path in variables.items()})


def _run(host: str, command: Sequence[str], variables: Mapping[str, str]) -> Run:
    started = time.monotonic()  # the same clock in all processes
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
    seconds = time.monotonic() - started
    if process.returncode:
        last = next(iter(reversed(process.stderr.strip().splitlines())), f"exit status {process.returncode}")
        raise LatentLoopError(f"the {host} host failed, so it cannot be timed: {last}")
    values = json.loads(process.stdout)
    ends = values["ends"]
    return Run(
        phases=tuple(end - begin for begin, end in zip([started, *ends], ends, strict=False)),
        process=seconds,
        images=tuple(nanoseconds / 1e9 for nanoseconds in values["nanoseconds"]),
        graphs=values["graph_seconds"],
        graph_runs=values["graph_runs"],
        peak=values["peak_bytes"],
        crc=values["crc"],
    )
