"""What a directory may hold that a new result replaces: what an earlier one left there, and nothing of the user's."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from latentloop.errors import OutputError
from latentloop.io.file_names import ENGINES, MANIFEST

TRIES = 10
OWN = b"Software\0LatentLoop"  # a PNG's text, near its start


def check_directory(folder: Path) -> None:
    """Raises OutputError for the working directory, one above it, or one that holds anything but a flat result's
    files, a bundle's or a set of engines'. Raises OSError.
    """
    for left in reversed(range(TRIES)):
        try:
            return _check(folder)
        except FileNotFoundError:  # another process replaces it, just now
            if not left:
                raise


def check_images(folder: Path) -> None:
    """Raises OutputError where a folder holds anything but an earlier run's images. Raises OSError."""
    for file in sorted(folder.iterdir()):
        if not _is_own_image(file):
            raise OutputError(
                f"{folder} also holds {file.name}, which --force would remove with it: choose another name"
            )


def _check(folder: Path) -> None:
    if Path.cwd().resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{folder} is the working directory or holds it: it is never replaced, give another name")
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    has_manifest = MANIFEST in names
    inner = next((name for name in names if (folder / name).is_dir() and not (has_manifest and name == ENGINES)), None)
    if inner is not None:
        raise OutputError(f"{folder} holds the directory {inner}, which no result does: remove it yourself")
    unlisted = _unlisted(folder) if has_manifest else None
    if unlisted is not None:
        raise OutputError(
            f"{folder} also holds {unlisted.relative_to(folder)}, which its {MANIFEST} does not list and --force "
            "would remove with it: move it, or give another name"
        )


def _unlisted(folder: Path) -> Path | None:
    """A file or folder of a bundle, or of a set of engines, that no manifest accounts for."""
    try:
        listed = {MANIFEST, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a damaged one is replaced where it is alone
        listed = {MANIFEST}
    for entry in sorted(folder.iterdir()):
        if entry.name == ENGINES and entry.is_dir() and not entry.is_symlink():
            for inner in sorted(entry.iterdir()):
                if inner.is_dir() and not inner.is_symlink():
                    if (found := _unlisted(inner)) is not None:
                        return found
                elif inner.suffix != ".timings":
                    return inner
        elif entry.is_dir() or (entry.name not in listed and entry.suffix != ".plan"):  # engines of a damaged set
            return entry
    return None


def _is_own_image(file: Path) -> bool:
    """Whether a file has a name that the commands give, and says that they wrote it."""
    number = file.name.partition("-")[0].removesuffix(".png")
    if not (number.isdecimal() and len(number) >= 5 and file.suffix == ".png" and file.is_file()):
        return False
    with suppress(OSError), file.open("rb") as opened:
        return OWN in opened.read(100)
    return False
