"""A run: what is made shard by shard, in batches, and written by a writer per shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from latentloop.bulk.folder import UNFINISHED
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.shards import Shards

B = TypeVar("B", bound="Batch")
B_contra = TypeVar("B_contra", bound="Batch", contravariant=True)


class Batch(Protocol):
    """Finished results for the next ``count`` items of a shard. ``failed`` of these have none, and are to be made when
    the run goes on: their shard stays partial. ``cancelled``: the run was stopped before they were all that an unbroken
    run makes of the shard.
    """

    @property
    def count(self) -> int:
        """The number of items."""

    @property
    def failed(self) -> int:
        """The number of items without a result."""

    @property
    def cancelled(self) -> bool:
        """Whether the run was stopped."""


@dataclass(frozen=True)
class Shard:
    """A shard that is being written in ``folder``. ``pool`` runs work that releases the interpreter's lock."""

    folder: Path
    number: int
    shards: Shards
    pool: ThreadPoolExecutor

    def path(self, name: str) -> Path:
        """Returns the path of an unfinished file."""
        return self.folder / UNFINISHED / name

    def file_name(self, kind: str, suffix: str) -> str:
        """Returns the name of a file for the whole shard, such as shard-00003.npz."""
        return f"{kind}-{self.number:0{max(5, len(str(self.shards.count - 1)))}}{suffix}"


class ShardWriter(Protocol[B_contra]):
    """Writes the files of one shard as unfinished files. Its methods may raise OSError and LatentLoopError."""

    @property
    def images(self) -> int:
        """The number of images written so far."""

    def add(self, batch: B_contra) -> None:
        """Writes the next batch of the shard."""

    def finish(self) -> tuple[WrittenFile, ...]:
        """Returns the files of the shard, which are on the disk."""

    def close(self) -> None:
        """Closes files after an error."""


@dataclass(frozen=True)
class Run(Generic[B]):
    """Makes the ``batches`` of a shard, given its number, and a ``writer`` for it.

    A shard's batches depend on nothing outside it. They end early if the run is stopped.
    """

    shards: Shards
    batches: Callable[[int], Iterable[B]]
    writer: Callable[[Shard], ShardWriter[B]]
