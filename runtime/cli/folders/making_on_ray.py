"""``latentloop sample --ray``: the shards of a run are drawn on a Ray cluster, and written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from latentloop.bulk.cluster.ray_cluster import LostError, ray_cluster, room
from latentloop.bulk.cluster.with_ray import RayWorkers
from latentloop.bulk.cluster.worker import WorkerPlan
from latentloop.bulk.journal import Journal
from latentloop.bulk.machine import Machine
from latentloop.bulk.sample_run import DrawnList, SampleRun
from latentloop.bulk.writing import MadeShard, write_made
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.hub_address import HubAddress
from latentloop.cli import messages
from latentloop.cli.interrupt import StopRequest
from latentloop.cli.progress import Bar


class RayMaker:
    """Workers on a Ray cluster. Implements ``Maker``."""

    def __init__(self, workers: RayWorkers) -> None:
        self._workers = workers

    @property
    def machine(self) -> Machine:
        """What the samplers say of themselves."""
        return self._workers.machine

    def check(self, run: SampleRun) -> None:
        """Raises InputError if the samplers cannot draw the run."""
        self._workers.check(run)

    def write(
        self,
        run: SampleRun,
        folder: Path,
        journal: Journal,
        numbers: Sequence[int],
        drawn: DrawnList,
        stop: StopRequest,
    ) -> int:
        """Has shards drawn, and writes them. Ctrl-C ends it after the shards that have arrived."""
        by_number: dict[int, DrawnList] = {}
        total = sum((part := run.shards.part(number)).stop - part.start for number in numbers)
        with Bar("image", "ray") as bar:

            def arriving() -> Iterator[MadeShard]:
                try:
                    for shard in self._workers.made(run, numbers, stop.is_set, listed=drawn.listed):
                        stop.wait_for_results()
                        bar.update(shard.record.images, total)
                        by_number[shard.record.shard] = shard.drawn
                        drawn.images += shard.drawn.images
                        yield MadeShard(shard.record, [content.data for content in shard.contents])
                except OSError as error:
                    raise LostError(str(error)) from error

            written = write_made(arriving(), folder, journal)
        for number in sorted(by_number):
            drawn.join(by_number[number])
        return written


@contextmanager
def ray_maker(
    address: str, bundle: Bundle, source: Path | HubAddress | None, device: str, threads: int | None, precision: str,
    *, is_encoded: bool,
) -> Iterator[RayMaker]:  # fmt: skip
    """Yields workers on the cluster at ``address``. ``source``: the bundle's path, on every machine, or its address on
    a model hub; None for the default bundle. Raises LatentLoopError.
    """
    with ray_cluster(address):
        place = room(device, threads)
        shown = None if source is None else bundle.location  # an address with its commit
        plan = WorkerPlan(
            shown,
            bundle.manifest.origin()["bundle"],
            device,
            place.threads,
            precision,
            is_encoded,
            WorkerPlan.passed_on(),
        )
        yield RayMaker(RayWorkers(plan, place.workers, place.resources, messages.note))
