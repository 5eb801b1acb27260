"""Changes of a bundle's files after it was opened."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from linked_bundles import files_of

CHANGED = "has changed since the bundle was opened: open the bundle again"


def deploy(folder: Path, change: Callable[[Path], object]) -> None:
    """Deploys a changed version into a mounted folder as Kubernetes does, by replacing one link."""
    shutil.copytree(folder / "..2024_01_01", folder / "..2024_01_02")
    change(folder / "..2024_01_02")
    (folder / "..new").symlink_to("..2024_01_02")
    (folder / "..new").rename(folder / "..data")


def change_byte(path: Path) -> None:
    """Changes the content but not the size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def touch(folder: Path) -> None:
    for file in files_of(folder):
        file.touch()


def change_byte_but_not_the_time(path: Path) -> None:
    status = path.stat()
    change_byte(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = [change_byte, change_byte_but_not_the_time, Path.unlink, lambda path: path.write_bytes(b"")]
