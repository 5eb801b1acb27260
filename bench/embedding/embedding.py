"""``latentloop bench embedding``: the C library beside Python, in whole processes that do the same work."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloop import Bundle
from latentloop.bench.embedding import report
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.hosts.processes import HOSTS, PHASES, Run, Task, run_host
from latentloop.bench.hosts.programs import Programs, build_programs
from latentloop.bench.machine.environment import environment
from latentloop.bench.workload.models import DEFAULT, build, split
from latentloop.errors import InputError
from latentloop.io.files import scratch_directory

PRESETS = (DEFAULT, "rosinality-256")
PRECISIONS = ("float32", "int8")
table = report.table


def measure(
    threads: int,
    rounds: int = 5,
    seconds: float = 5.0,
    presets: Sequence[str] = PRESETS,
    precisions: Sequence[str] = PRECISIONS,
) -> dict[str, Any]:
    """Measures both hosts in turn, ``rounds`` times; returns plain JSON types.

    A round draws as many images as the C++ host draws in ``seconds``. Raises LatentLoopError; InputError for an unknown
    preset, and for one that is too large to be exported whole.
    """
    for preset in presets:
        if len(split(preset)) > 1:
            raise InputError(f"--presets: {preset} is too large to be timed whole here")
    comparisons = []
    with scratch_directory() as folder:
        programs = build_programs(folder)  # first: it can fail
        for preset in presets:
            part = build(preset, split(preset)[0], folder / preset)
            comparisons += [
                {"preset": preset, **_compare(programs, Task(part.bundle, precision, threads), rounds, seconds)}
                for precision in precisions
            ]
            shutil.rmtree(part.folder)
    settings = {"rounds": rounds, "seconds": seconds}
    return new_result("embedding", environment(threads), settings=settings, comparisons=comparisons)


def _compare(programs: Programs, task: Task, rounds: int, seconds: float) -> dict[str, Any]:
    """Returns the figures of one bundle and precision."""
    estimate = run_host("C++", programs, task, 1)  # which also fills the file cache
    count = max(1, round(seconds / estimate.image))
    cold: dict[str, list[Run]] = {host: [] for host in HOSTS}
    warm: dict[str, list[Run]] = {host: [] for host in HOSTS}
    timed: dict[str, list[Run]] = {host: [] for host in HOSTS}
    for _ in range(rounds):
        for runs, images, graphs in ((cold, 0, False), (warm, count, False), (timed, count, True)):
            for host in HOSTS:
                runs[host].append(run_host(host, programs, task, images, timed=graphs))
    everything = [run for runs in (cold, warm, timed) for host in HOSTS for run in runs[host]]
    return {
        "precision": task.precision,
        "images": count,
        "steps_per_image": _steps(task.bundle),
        "same_codes": len({(len(run.batches), run.crc) for run in everything}) == 2,  # those of 1 and 1 + count images
        "hosts": {host: _figures(cold[host], warm[host], timed[host]) for host in HOSTS},
        "ratios": {  # of the two hosts' runs in one round, C++ : Python
            "images per second": _ratio([run.image for run in warm["Python"]], [run.image for run in warm["C++"]]),
            "first image": _ratio(*([run.first_image for run in cold[host]] for host in HOSTS)),
            "resident memory": _ratio(*([run.peak for run in cold[host]] for host in HOSTS)),
        },
    }


def _figures(cold: list[Run], warm: list[Run], timed: list[Run]) -> dict[str, Any]:
    # C++ imports nothing: it has no such phase.
    by_phase = zip(PHASES, zip(*(run.phases for run in cold), strict=True), strict=True)
    return {
        "image": Figure(tuple(run.image for run in warm), "s").to_json(),
        "first_image": Figure(tuple(run.first_image for run in cold), "s").to_json(),
        "process": Figure(tuple(run.process for run in cold), "s").to_json(),
        "memory": Figure(tuple(run.peak / 2**20 for run in cold), "MiB").to_json(),
        "outside": Figure(tuple(run.outside for run in timed), "share").to_json(),
        "phases": {phase: Figure(samples, "s").to_json() for phase, samples in by_phase if any(samples)},
        "graph_runs_per_image": timed[0].graph_runs / len(timed[0].batches),
    }


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    return Figure(tuple(a / b for a, b in zip(numerators, denominators, strict=True)), "").to_json()


def _steps(bundle: Path) -> int:
    """Returns how many times an image runs a step graph."""
    levels = Bundle.open(bundle).manifest.levels
    return sum(v.height * v.width // v.prior.columns_per_step for v in levels if v.prior is not None)
