"""What ``decode``, ``encode`` and ``reconstruct`` into a folder have in common: the run, and the report on it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

from latentloop.bulk.machine import machine_fields
from latentloop.bulk.run import B, Run, Shard, ShardWriter
from latentloop.bulk.shards import Shards, default_size
from latentloop.bulk.writing import write_run
from latentloop.cli import messages, options
from latentloop.cli.folders.choices import Choices, choices_of
from latentloop.cli.folders.opening import RunFolder
from latentloop.cli.interrupt import StopRequest, stop_request
from latentloop.cli.progress import Bar
from latentloop.sampling.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Results(Generic[B]):
    """How a command makes its n results: the ``batches`` of a part of its items, until it is requested to stop."""

    n: int
    batches: Callable[[slice, StopRequest], Iterator[B]]
    writer: Callable[[Shard], ShardWriter[B]]


@dataclass(frozen=True, eq=False)
class Report:
    """The images that are ``done``, those that were done ``before`` among them, and how the command ended; ``stop`` is
    None if there was nothing to do.
    """

    done: int
    before: int
    n: int
    shards: Shards
    seconds: float
    stop: StopRequest | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether the command was requested to stop."""
        return self.stop is not None and self.stop.is_set()

    def summary(self, output: str) -> dict[str, Any]:
        """Returns the fields of the summary that the commands share."""
        return {
            "file": output if self.done else None,
            "images_before": self.before,
            "shards": self.shards.count,
            "shard_size": self.shards.size,
        }

    def exit_status(self) -> int:
        """Returns the exit status; notes an interruption."""
        if self.stop is None:
            return 0
        go_on = "; the same command goes on" if 0 < self.done < self.n else ""
        return messages.exit_status(self.stop, messages.finished(self.done, self.n) + go_on)


class ShardCommand:
    """A command's run in a folder. ``format``: of its images, None for codes."""

    def __init__(self, arguments: argparse.Namespace, folder: RunFolder, format: str | None, scale: int = 1) -> None:
        self.folder, self.format, self.scale = folder, format, scale
        self._arguments = arguments
        self.choices: Choices = choices_of(arguments, folder.before, folder.journal_path)
        self.bundle = options.open_selected(arguments)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler, opened when it is needed."""
        return Sampler(self.bundle, self.choices.device or self._arguments.device, self.choices.threads)

    @property
    def batch_size(self) -> int:
        """The size of batches."""
        return self.choices.batch_size or self.sampler.default_batch_size

    def fields(self, command: str, **fields: object) -> dict[str, Any]:
        """Returns the fields of the journal that the command and the bundle fix, as plain JSON types."""
        chosen = {name: getattr(self.choices, name) for name in ("shard_size", "batch_size", "threads")}
        return {
            "command": command,
            "bundle": self.bundle.manifest.origin()["bundle"],
            **fields,
            **({} if self.format is None else {"files": self.format, "scale": self.scale}),
            **{name: value for name, value in chosen.items() if value is not None},
        }

    @property
    def finished(self) -> Report | None:
        """The report on a run that is finished already."""
        shards = self.folder.finished_run
        if shards is None:
            return None
        done = sum(self.folder.finished.values())
        return Report(done, done, shards.n, shards, 0.0)

    def run(self, fields: dict[str, Any], results: Results[B], label: str) -> Report:
        """Makes the shards that are not finished. Raises LatentLoopError."""
        height, width, channels = self.bundle.manifest.image
        image = (height * self.scale, width * self.scale, channels)
        size = self.choices.shard_size or default_size(self.format or "codes", image, self.batch_size)
        shards = Shards(results.n, size)
        fields = fields | {"n": results.n, "shard_size": size}
        fields |= machine_fields(self.sampler, self.batch_size, is_encoded=self.format in ("png", "tar"))
        self.folder.check_same(fields)
        finished = self.folder.finished
        journal = self.folder.begin(fields, finished, results.n)
        before, started = sum(finished.values()), time.perf_counter()
        try:
            with stop_request() as stop, Bar("image", label) as bar:

                def batches(number: int) -> Iterator[B]:
                    for batch in results.batches(shards.part(number), stop):
                        stop.wait_for_results()
                        bar.update(batch.count, results.n - before)
                        yield batch

                run = Run(shards, batches, results.writer)
                written = write_run(run, self.folder.path, journal, finished)
        finally:
            self.folder.remove_empty()
        seconds = time.perf_counter() - started
        return Report(before + written, before, results.n, shards, seconds, stop)
