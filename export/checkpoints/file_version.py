"""Detection of a file that is changed between two accesses to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from latentloop.errors import CheckpointError


@dataclass(frozen=True)
class FileVersion:
    """A file, and what identifies its present content: device, inode, size in bytes, time of the last change in ns."""

    path: Path
    identity: tuple[int, ...]

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Returns the version that is at ``path`` now. Raises OSError."""
        return cls(path, _identity(path))

    def check(self) -> None:
        """Raises CheckpointError if another version, or none, is at the path now."""
        try:
            if _identity(self.path) == self.identity:
                return
            change = "was written again"
        except OSError as error:
            change = f"cannot be read any more ({error.strerror or error})"
        raise CheckpointError(
            f"{self.path} {change} while it was in use: its weights are read when they are needed; repeat the command, "
            "and leave the file unchanged until it ends"
        )


def _identity(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
