"""What is measured: all combinations of hosts, precisions, batch sizes, and threads or processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentloop.bench.hosts.processes import HOSTS
from latentloop.environment.machine import available_threads
from latentloop.errors import InputError

BATCHES = (1, 4, 16, 64)
OPTIONS = {host.lower(): host for host in reversed(HOSTS)}  # the names of the command line
ON_GPU = ("float32", "float16", "bfloat16", "int8")  # precisions to try: which ones there are depends on the engines
MOST_PROCESSES = 8  # by default: each has a copy of everything but the weights in files
LONGEST = 3600.0  # seconds of a setting and round


@dataclass(frozen=True)
class Setting:
    """One way to draw: ``processes`` samplers at once, each with ``threads`` threads."""

    host: str
    precision: str
    batch: int
    threads: int
    processes: int = 1

    @property
    def parallel(self) -> str:
        """The threads and processes in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return threads if self.processes == 1 else f"{self.processes} processes of {threads}"


@dataclass(frozen=True)
class Request:
    """The options of the command. What is empty has a default, and of that is left out what cannot be measured.

    ``bundle``: its folder; None for one of the preset's, with random weights. ``processes``: numbers of samplers that
    divide the largest number of threads among them.
    """

    bundle: Path | None
    preset: str | None = None
    device: str = "cpu"
    batches: Sequence[int] = BATCHES
    threads: Sequence[int] = ()
    processes: Sequence[int] = ()
    precisions: Sequence[str] = ()
    hosts: Sequence[str] = ()  # of HOSTS
    rounds: int = 3
    seconds: float = 3.0

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU was named: then threads matter little, and by default only one number is measured."""
        return self.device not in ("cpu", "auto")

    def ways(self) -> list[tuple[int, int]]:
        """Returns pairs of threads and processes: each number of threads, then the processes that divide the most.

        Raises InputError for more threads than the machine has, and for processes that do not divide them.
        """
        most = available_threads()
        for threads in self.threads:
            if threads > most:
                raise InputError(f"--threads: {threads}, but this process may use {most} processors")
        counts = sorted(set(self.threads or ((most,) if self.on_gpu else (1, max(1, most // 2), most))))
        largest = counts[-1]
        for count in self.processes:
            if largest % count:
                raise InputError(
                    f"--processes: {count} do not divide {largest}, the largest number of --threads, evenly"
                )
        common = max(k for k in range(1, MOST_PROCESSES + 1) if largest % k == 0)
        processes = self.processes or ((1,) if self.on_gpu else (1, common))
        ways = [(threads, 1) for threads in counts] if 1 in processes else []
        return ways + [(largest // k, k) for k in sorted(set(processes)) if k > 1]


def settings(
    hosts: Sequence[str], precisions: Sequence[str], batches: Sequence[int], ways: Sequence[tuple[int, int]]
) -> list[Setting]:
    """Returns all combinations; those that differ in the host alone are neighbours."""
    return [
        Setting(host, precision, batch, threads, processes)
        for precision in precisions
        for batch in batches
        for threads, processes in ways
        for host in hosts
    ]


def rotated(values: Sequence[Setting], number: int, rounds: int) -> list[Setting]:
    """Returns the order of a round: each starts a share of the list later, so no setting is always early or late."""
    start = len(values) * number // rounds
    return [*values[start:], *values[:start]]
