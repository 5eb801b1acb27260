"""Checks of a bundle's files against the sizes and SHA-256 digests that its manifest records."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from latentloop.bundles.manifest import FileRecord
from latentloop.errors import BundleError

Identity = tuple[int, ...]  # device, inode, size and times of a file: writing or replacing the file changes them


def check_link(path: Path) -> None:
    """Raises BundleError if the path is a link whose target does not exist."""
    try:
        if path.is_symlink() and not path.exists():
            problem = f"{path} is a link to {os.readlink(path)}, which does not exist"
            raise BundleError(f"{problem}: copy bundles with a command that follows links, such as cp -rL")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def check_name(name: str, source: Path | str) -> None:
    """Raises BundleError unless a name in the manifest ``source`` is that of a file inside the bundle."""
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise BundleError(f"{source}: files[{name!r}] is not a plain file name: it could lead out of the bundle")


def verify_file(folder: Path, name: str, record: FileRecord, source: Path) -> Identity:
    """Returns the identity of the file ``name`` in ``folder``. A link is followed.

    Raises BundleError unless the file has the size and the digest of ``record``. ``source``, for messages, is the
    manifest that contains the record.
    """
    check_name(name, source)
    path = folder / name
    check_link(path)
    try:
        if not path.exists():
            raise BundleError(f"{path} is missing; {source} lists it")
        if not path.is_file():  # reading a pipe would block, reading a device might never end
            raise BundleError(f"{path} is not a file; {source} lists it")
        size = path.stat().st_size
        if size != record.size:
            raise BundleError(f"{path} has {size} bytes, {source} says {record.size}: copy or export the bundle again")
        with path.open("rb") as file:
            identity = identity_of(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if digest != record.sha256:
        raise BundleError(
            f"{path} has SHA-256 {digest[:12]}…, {source} says {record.sha256[:12]}…: corrupt or tampered with; "
            "copy or export the bundle again"
        )
    return identity


def identity_of(status: os.stat_result) -> Identity:
    """Returns the fields of a file's status that change when the file is written or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
