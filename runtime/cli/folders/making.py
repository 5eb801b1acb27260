"""What draws the samples of a run: a sampler in this process, or workers elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from latentloop.bulk.journal import Journal
from latentloop.bulk.machine import Machine
from latentloop.bulk.sample_run import DrawnList, SampleRun
from latentloop.bulk.writing import write_run
from latentloop.cli.interrupt import StopRequest
from latentloop.cli.progress import Bar
from latentloop.sampling.sampler import Sampler, runs_of

if TYPE_CHECKING:
    from latentloop.sampling.results import Progress


class Maker(Protocol):
    """Draws the samples of a run. ``machine`` says on what."""

    @property
    def machine(self) -> Machine:
        """What the samplers say of themselves."""

    def check(self, run: SampleRun) -> None:
        """Raises InputError if the samplers cannot draw the run."""

    def write(
        self,
        run: SampleRun,
        folder: Path,
        journal: Journal,
        numbers: Sequence[int],
        drawn: DrawnList,
        stop: StopRequest,
    ) -> int:
        """Draws and writes the shards with these numbers, and returns the number of images whose files are in place.
        ``drawn`` collects what was drawn. Raises OutputError.
        """


class LocalMaker:
    """A sampler in this process. Implements ``Maker``."""

    def __init__(self, sampler: Sampler, *, is_encoded: bool) -> None:
        self._sampler, self.machine = sampler, Machine.of(sampler, is_encoded=is_encoded)

    def check(self, run: SampleRun) -> None:
        """Raises InputError if the sampler cannot draw the run."""
        runs_of(self._sampler).checked_batch(run.request, run.batch_size)

    def write(
        self,
        run: SampleRun,
        folder: Path,
        journal: Journal,
        numbers: Sequence[int],
        drawn: DrawnList,
        stop: StopRequest,
    ) -> int:
        """Draws and writes shards. Ctrl-C ends it after the batches that are finished."""
        with Bar("row") as bar:
            made = run.on(self._sampler, _after_row(run, numbers, bar, stop))
            return write_run(made, folder, journal, (), drawn.add, numbers)


def _after_row(run: SampleRun, numbers: Sequence[int], bar: Bar, stop: StopRequest) -> Callable[[Progress], bool]:
    manifest, before = run.request.manifest, run.candidates_before
    height = sum(manifest.level(name).height for name in run.request.drawn_levels)
    first = int(before[numbers[0]]) if numbers else 0
    total = int(before[numbers[-1] + 1]) - first if numbers else 0
    rows, has_results = height * -(-total // run.batch_size), False

    def after_row(progress: Progress) -> bool:
        nonlocal has_results
        done = progress.images_done - first
        bar.update(1, rows, f"{done} of {total} images")
        if done and not has_results:
            has_results = True
            stop.wait_for_results()
        return not stop.is_set()

    return after_row
