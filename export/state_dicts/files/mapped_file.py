"""A file that is mapped into memory, from which tensors are read one after the other."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.export.checkpoints.file_version import FileVersion


class MappedFile:
    """The content of a file, which must not change."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, and ValueError for an empty file."""
        self.version = FileVersion.of(path)
        with path.open("rb") as opened:
            self.mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.content = memoryview(self.mapping)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Surrounds the reading of a tensor. Raises CheckpointError if the file has changed.

        At the end the file's pages leave the memory of this process: they would count as its own.
        """
        self.version.check()  # access to a page that was cut off would end the process
        try:
            yield
        finally:
            self.mapping.madvise(mmap.MADV_DONTNEED)
