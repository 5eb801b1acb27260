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

from latentloop.bench.hosts import python_host
from latentloop.bench.hosts.programs import Programs
from latentloop.errors import LatentLoopError

HOSTS = ("C++", "Python")
SEED = 1  # of the first image
# Until the first image: what each phase ends with is in ``ends`` of host.cpp.
PHASES = ("start of the process", "imports", "bundle verification", "sampler", "graphs and first image")


@dataclass(frozen=True)
class Task:
    """What both hosts draw: batches of images of a bundle, one after the other."""

    bundle: Path
    precision: str
    threads: int
    batch: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Run:
    """What a process measured. Times are in seconds, memory in bytes."""

    phases: tuple[float, ...]  # PHASES
    process: float  # from the start to the end of the process
    batches: tuple[float, ...]  # of each batch after the first
    batch: int  # images of each
    graphs: float  # in runs of graphs, for these batches; 0 if they were not timed
    graph_runs: int
    peak: int  # resident
    files: int  # resident pages of files, which processes share
    crc: int  # of the codes of the first batch and of those that had to be drawn

    @property
    def first_image(self) -> float:
        """Seconds from the start of the process to the end of the first batch."""
        return sum(self.phases)

    @property
    def image(self) -> float:
        """Seconds of an image after the first batch, the mean."""
        return sum(self.batches) / (len(self.batches) * self.batch)

    @property
    def outside(self) -> float:
        """The share of an image's time that is outside the graphs, if they were timed."""
        return 1 - self.graphs / sum(self.batches)


def run_host(
    host: str,
    programs: Programs | None,
    task: Task,
    count: int,
    *,
    seconds: float = 0.0,
    timed: bool = False,
    stream: bool = False,
) -> Run:
    """Draws a batch in a process of one of ``HOSTS``, ``count`` more, and more until ``seconds`` have passed.

    ``timed``: also times the runs of graphs. ``stream``: Python takes the batches from ``Sampler.stream``, which draws
    two before it yields the first. Only C++ needs ``programs``. Raises LatentLoopError with the last line that the
    process printed.
    """
    arguments = [str(task.bundle), task.device, task.precision, str(task.threads), str(SEED), str(task.batch)]
    arguments += [str(count), repr(seconds)]
    if host == "Python":
        options = ["--timed"] if timed else ["--stream"] if stream else []
        return _run(host, [sys.executable, "-P", python_host.__file__, *arguments, *options], {}, task.batch)
    assert programs is not None
    library = programs.timed_onnxruntime if timed else programs.onnxruntime
    variables = {"LATENTLOOP_ONNXRUNTIME": library, "LATENTLOOP_BENCH_ONNXRUNTIME": programs.onnxruntime}
    paths = {name: str(path) for name, path in variables.items()}
    return _run(host, [str(programs.host), *arguments], paths, task.batch)


def _run(host: str, command: Sequence[str], variables: Mapping[str, str], batch: int) -> Run:
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
        batches=tuple(nanoseconds / 1e9 for nanoseconds in values["nanoseconds"]),
        batch=batch,
        graphs=values["graph_seconds"],
        graph_runs=values["graph_runs"],
        peak=values["peak_bytes"],
        files=values["file_bytes"],
        crc=values["crc"],
    )
