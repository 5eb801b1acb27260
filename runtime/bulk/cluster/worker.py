"""A worker: it draws shards with a sampler of its own, and hands their files over as bytes. It knows of no cluster."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.folder import UNFINISHED
from latentloop.bulk.journal import ShardRecord
from latentloop.bulk.machine import INSTRUCTION_SETS, VARIABLE, Machine, machine_fields
from latentloop.bulk.recorded import first_difference
from latentloop.bulk.sample_run import DrawnList, SampleRun
from latentloop.bulk.writing import ShardPipeline
from latentloop.errors import InputError
from latentloop.io.files import scratch_directory
from latentloop.sampling.sampler import Sampler, runs_of


@dataclass(frozen=True)
class WorkerPlan:
    """How workers open their samplers: the ``bundle``'s path on the worker's machine, None for the default one, and the
    ``digest`` that it must have; and what is to be the same for all. ``instruction_set`` is that of the environment
    variable of the process that starts them, if it is set there.
    """

    bundle: str | None
    digest: str
    device: str
    threads: int
    precision: str
    is_encoded: bool
    instruction_set: str | None

    @staticmethod
    def passed_on() -> str | None:
        """Returns the instruction set that this process's environment chooses."""
        return os.environ.get(VARIABLE)


@dataclass(frozen=True, eq=False)
class WorkerShard:
    """A shard that a worker has made: the ``contents`` of its files, uint8 [size] each, and what was ``drawn``."""

    record: ShardRecord
    contents: list[NDArray[np.uint8]]
    drawn: DrawnList


class Worker:
    """Draws shards. The sampler is opened when it is needed: again in a worker that was started again."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._opened: Sampler | None = None

    def machine(self) -> Machine:
        """Returns what the sampler says of itself. Raises LatentLoopError."""
        return Machine.of(self._sampler(), is_encoded=self._plan.is_encoded)

    def check(self, run: SampleRun) -> None:
        """Raises InputError if the sampler cannot draw the run."""
        runs_of(self._sampler()).checked_batch(run.request, run.batch_size)

    def make(self, run: SampleRun, fields: Mapping[str, Any], number: int, *, listed: bool) -> WorkerShard:
        """Makes a shard. ``fields`` are those of the journal that the machine fixes; ``listed`` is that of DrawnList.

        Raises InputError if this machine has others, OSError, and LatentLoopError.
        """
        sampler = self._sampler()
        check_machine(fields, machine_fields(sampler, run.batch_size, is_encoded=self._plan.is_encoded))
        records: list[ShardRecord] = []
        drawn = DrawnList(listed)
        with scratch_directory() as folder:
            (folder / UNFINISHED).mkdir()
            with ShardPipeline(run.on(sampler), folder, records.append, drawn.add) as pipeline:
                pipeline.make(number)
                pipeline.finish()
            contents = [np.fromfile(folder / UNFINISHED / file.name, np.uint8) for file in records[0].files]
        return WorkerShard(records[0], contents, drawn)

    def _sampler(self) -> Sampler:
        if self._opened is None:
            from latentloop.bundles.bundle import Bundle

            plan = self._plan
            if plan.instruction_set is not None:
                os.environ[VARIABLE] = plan.instruction_set  # before the native library is loaded
            bundle = Bundle.default() if plan.bundle is None else Bundle.open(plan.bundle)
            if (digest := bundle.manifest.origin()["bundle"]) != plan.digest:
                raise InputError(
                    f"{bundle.path} is another bundle, its digest is {digest[:12]}…, expected {plan.digest[:12]}…: "
                    "give every machine the same bundle"
                )
            self._opened = Sampler(bundle, plan.device, plan.threads, plan.precision)
        return self._opened


def check_machine(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises InputError if a worker's machine differs from the run's: its images would not be the same."""
    differing = first_difference(expected, found)
    if differing is None:
        return
    field, runs, own = differing
    remedy = "give all machines the same, or leave this one out"
    if field == "instruction_set":
        both = [expected.get(field), found.get(field)]
        known = [name for name in INSTRUCTION_SETS if name in both]
        lesser = known[0] if len(known) == 2 else INSTRUCTION_SETS[0]
        remedy = f"start anew with {VARIABLE}={lesser}, which the command passes on to all, or leave this machine out"
    raise InputError(f"{field} is {own} here, and {runs} in the run: {remedy}")


def packed(run: SampleRun) -> bytes:
    """Returns a pickle of a run, in which what is the same for all its images is there once."""
    file = io.BytesIO()
    _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(run)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Pickles what ``np.broadcast_to`` has made as it is in memory."""

    def reducer_override(self, value: object) -> Any:
        """Returns how an array is made again, and NotImplemented for all that is pickled as usual."""
        if isinstance(value, np.ndarray) and value.size:
            repeated = [stride == 0 and size > 1 for stride, size in zip(value.strides, value.shape, strict=True)]
            if any(repeated):
                once = value[tuple(slice(0, 1) if each else slice(None) for each in repeated)]
                return np.broadcast_to, (once.copy(), value.shape)
        return NotImplemented
