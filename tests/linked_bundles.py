"""Bundles whose files are links, in the layouts of download caches and of deployment tools."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

Layout = Callable[[Path, Path], Path]  # copies a bundle to a folder, and returns the path of the bundle of links


def files_of(bundle: Path) -> Iterator[Path]:
    return (file for file in sorted(bundle.rglob("*")) if file.is_file())


def link(target: Path, path: Path) -> None:
    """Creates a relative link, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def blobs(bundle: Path, folder: Path) -> Path:
    """Stores files by their digests in one folder, with links to them in another."""
    (folder / "blobs").mkdir()
    for file in files_of(bundle):
        content = file.read_bytes()
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link(blob, folder / "snapshots" / "0123" / file.relative_to(bundle))
    return folder / "snapshots" / "0123"


def objects(bundle: Path, folder: Path) -> Path:
    """Stores each file in its own folder."""
    for file in files_of(bundle):
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        target = folder / "objects" / digest[:2] / digest / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        link(target, folder / "bundle" / file.relative_to(bundle))
    return folder / "bundle"


def mounted(bundle: Path, folder: Path) -> Path:
    """Stores files in the folder of a version; each link leads through the link ``..data`` to that folder."""
    for file in files_of(bundle):
        name = file.relative_to(bundle)
        target = folder / "mount" / "..2024_01_01" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        link(folder / "mount" / "..data" / name, folder / "mount" / name)
    (folder / "mount" / "..data").symlink_to("..2024_01_01")
    return folder / "mount"


def folder_link(bundle: Path, folder: Path) -> Path:
    """Creates one link to the whole bundle."""
    (folder / "bundle").symlink_to(bundle)
    return folder / "bundle"


LAYOUTS: tuple[Layout, ...] = (blobs, objects, mounted, folder_link)
