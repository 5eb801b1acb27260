"""Workers on a Ray cluster, an actor each.

The process that starts the workers holds the journal and writes the files; bytes reach it through Ray's object store,
so the machines need no shared file system. An actor whose process or node is lost is started again, and what it had not
delivered is made again.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from latentloop.bulk.cluster.worker import Worker, WorkerPlan, WorkerShard, check_machine, packed
from latentloop.bulk.machine import Machine
from latentloop.bulk.sample_run import SampleRun
from latentloop.errors import InputError, LatentLoopError, OutputError

AHEAD = 2  # shards that an actor has: one that it makes, and one that waits
TRIES = 4  # times that a shard is tried if the actors that make it die
WAIT = 0.5  # seconds until a request to stop is looked for
PATIENCE = 30  # seconds until a note that no worker has started


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an actor returns: a ``value``, or an ``error`` in one line with the place where it arose."""

    node: str
    value: Any = None
    error: str = ""
    is_input_error: bool = False

    def get(self) -> Any:
        """Returns the value. Raises the error."""
        if self.error:
            kind = InputError if self.is_input_error else OutputError
            raise kind(f"Ray's node {self.node}: {self.error}")
        return self.value


class Actor:
    """The worker in a process of Ray. Its methods return an ``Outcome``."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._worker = Worker(plan)
        self._runs: dict[Any, SampleRun] = {}

    def machine(self) -> Outcome:
        """Returns what the sampler says of itself."""
        return self._outcome(self._worker.machine)

    def check(self, run: list[Any]) -> Outcome:
        """Checks that the sampler can draw a run, of which the list has Ray's reference."""
        return self._outcome(lambda: self._worker.check(self._run(run)))

    def make(self, run: list[Any], fields: dict[str, Any], number: int, listed: bool) -> Outcome:
        """Makes a shard."""
        return self._outcome(lambda: self._worker.make(self._run(run), fields, number, listed=listed))

    def _run(self, boxed: list[Any]) -> SampleRun:
        ray = import_module("ray")
        if boxed[0] not in self._runs:
            self._runs = {boxed[0]: pickle.loads(ray.get(boxed[0]))}
        return self._runs[boxed[0]]

    def _outcome(self, work: Callable[[], object]) -> Outcome:
        ray = import_module("ray")
        node = f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"
        try:
            return Outcome(node, work())
        except Exception as error:
            text = str(error) if isinstance(error, LatentLoopError) else f"{type(error).__name__}: {error}"
            return Outcome(node, error=" ".join(text.split()), is_input_error=isinstance(error, InputError))


class _LostError(OutputError):
    """The actor died, or what it had made was lost, more often than Ray tries again."""


@dataclass(eq=False)
class _Started:
    """An actor, and the shards that it has."""

    handle: Any
    numbers: set[int] = field(default_factory=set)


class RayWorkers:
    """Workers on a cluster that this process is connected to; ``room`` is the number of actors that it can have."""

    def __init__(self, plan: WorkerPlan, room: int, resources: dict[str, float], note: Callable[[str], None]) -> None:
        ray = import_module("ray")
        self._ray, self._plan, self._room = ray, plan, room
        # A lost node is no fault of a shard, so actors are started again without limit, and tasks are not.
        self._kind = ray.remote(Actor).options(**resources, max_restarts=-1, max_task_retries=TRIES - 1)
        self._first = self._start()
        ready = self._first.handle.machine.remote()
        waited = 0.0
        while not ray.wait([ready], timeout=WAIT)[0]:
            waited += WAIT
            if waited == PATIENCE:
                note(f"Ray has started no worker in {PATIENCE} s: the command waits until the cluster has room")
        self.machine: Machine = self._get(ready)
        self._run: list[Any] = []

    def check(self, run: SampleRun) -> None:
        """Raises InputError if the samplers cannot draw the run."""
        self._run = [self._ray.put(packed(run))]
        self._get(self._first.handle.check.remote(self._run))

    def made(
        self, run: SampleRun, numbers: Sequence[int], is_stopped: Callable[[], bool], *, listed: bool
    ) -> Iterator[WorkerShard]:
        """Yields the shards with these numbers as they are finished, until it is to stop. At most ``AHEAD`` of each
        actor are made before they are taken.

        Raises InputError if the machines differ, OutputError if a shard cannot be made.
        """
        fields = {**self.machine.fields, "batch_size": run.batch_size}
        waiting, tries = deque(numbers), dict.fromkeys(numbers, 0)
        actors = [self._first, *(self._start() for _ in range(min(self._room, len(waiting)) - 1))]
        pending: dict[Any, tuple[_Started, int | None]] = {}  # by reference: the shard, None for the machine's report
        for actor in actors:
            pending[actor.handle.machine.remote()] = actor, None
        while waiting or any(actor.numbers for actor in actors):
            if is_stopped():
                return
            for reference in self._ray.wait(list(pending), num_returns=1, timeout=WAIT)[0]:
                actor, number = pending.pop(reference)
                shard: WorkerShard | None = None
                if number is None:
                    _check_report(fields, self._outcome(reference), run.batch_size)
                else:
                    actor.numbers.remove(number)
                    tries[number] += 1
                    try:
                        shard = self._get(reference)
                    except _LostError as error:
                        if tries[number] >= TRIES:
                            raise OutputError(f"shard {number} was lost {TRIES} times: {error}") from error
                        waiting.appendleft(number)
                while waiting and len(actor.numbers) < AHEAD:
                    given = waiting.popleft()
                    actor.numbers.add(given)
                    pending[actor.handle.make.remote(self._run, fields, given, listed)] = actor, given
                if not actor.numbers:
                    self._ray.kill(actor.handle)  # its place may be needed to start another one again
                del reference  # Ray keeps what has references
                if shard is not None:
                    yield shard

    def _start(self) -> _Started:
        return _Started(self._kind.remote(self._plan))

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return cast(Outcome, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            raise _LostError(" ".join(str(error).split())[:300]) from error

    def _get(self, reference: Any) -> Any:
        return self._outcome(reference).get()


def _check_report(fields: dict[str, Any], report: Outcome, batch_size: int) -> None:
    """Raises InputError if a worker's machine differs from the run's."""
    machine: Machine = report.get()
    try:
        check_machine(fields, {**machine.fields, "batch_size": batch_size})
    except InputError as error:
        raise InputError(f"Ray's node {report.node}: {error}") from error
