"""A bundle's files as links: the layouts of download caches and of deployment tools."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

Layout = Callable[[Path, Path], Path]  # copies a bundle into a folder, and returns where the bundle of links is


def files_of(bundle: Path) -> Iterator[Path]:
    return (file for file in sorted(bundle.rglob("*")) if file.is_file())


def link(target: Path, path: Path) -> None:
    """A relative link, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def blobs(bundle: Path, folder: Path) -> Path:
    """Files named by their digests in one folder, links to them in another."""
    (folder / "blobs").mkdir()
    for file in files_of(bundle):
        content = file.read_bytes()
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link(blob, folder / "snapshots" / "0123" / file.relative_to(bundle))
    return folder / "snapshots" / "0123"


def objects(bundle: Path, folder: Path) -> Path:
    """Each file in a folder of its own."""
    for file in files_of(bundle):
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        place = folder / "objects" / digest[:2] / digest / digest
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        link(place, folder / "bundle" / file.relative_to(bundle))
    return folder / "bundle"


def mounted(bundle: Path, folder: Path) -> Path:
    """Links through a link to the folder of the current version, which lies beside them."""
    for file in files_of(bundle):
        name = file.relative_to(bundle)
        place = folder / "mount" / "..2024_01_01" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
        link(folder / "mount" / "..data" / name, folder / "mount" / name)
    (folder / "mount" / "..data").symlink_to("..2024_01_01")
    return folder / "mount"


def folder_link(bundle: Path, folder: Path) -> Path:
    """A link to the folder."""
    (folder / "bundle").symlink_to(bundle)
    return folder / "bundle"


LAYOUTS: tuple[Layout, ...] = (blobs, objects, mounted, folder_link)
