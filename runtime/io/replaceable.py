"""Checks that a directory which a new result would replace holds an earlier result and none of the user's files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from latentloop.errors import OutputError
from latentloop.io.card_mark import is_unedited
from latentloop.io.file_names import CARD, CARD_PICTURE, ENGINES, JOURNAL, MANIFEST

TRIES = 10
SOFTWARE_TEXT = b"Software\0LatentLoop"  # a text chunk near the start of the PNG files that LatentLoop writes


def check_directory(folder: Path) -> None:
    """Raises OutputError unless a new result may replace the directory: it may hold files but no directories, and if
    it is a bundle or a set of engines, only what its manifest lists and a model card that nobody has edited. The
    working directory and its parents may not be replaced. Raises OSError.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            return _check(folder)
        except FileNotFoundError:  # another process is replacing it
            if not tries_left:
                raise


def check_image_folder(folder: Path) -> None:
    """Raises OutputError if a folder holds anything except images of an earlier run. Raises OSError."""
    for file in sorted(folder.iterdir()):
        if not (is_earlier_image(file) or is_journal(file)):
            raise OutputError(
                f"{folder} also holds {file.name}, which --force would remove with it: choose another name"
            )


def check_not_working_directory(folder: Path) -> None:
    """Raises OutputError if the folder is the working directory or one of its parents. Raises OSError."""
    if Path.cwd().resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{folder} is or contains the working directory, which is never replaced: give another name")


def _check(folder: Path) -> None:
    check_not_working_directory(folder)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    has_manifest = MANIFEST in names
    inner = next((name for name in names if (folder / name).is_dir() and not (has_manifest and name == ENGINES)), None)
    if inner is not None:
        raise OutputError(f"{folder} holds the directory {inner}, so it is no earlier result: remove it yourself")
    unlisted = _first_unlisted(folder) if has_manifest else None
    if unlisted is not None:
        raise OutputError(
            f"{folder} also holds {unlisted.relative_to(folder)}, which its {MANIFEST} does not list and --force "
            "would remove with it: move it, or give another name"
        )


def _first_unlisted(folder: Path) -> Path | None:
    """Returns a file or folder inside a bundle or a set of engines that no manifest lists, or None."""
    try:
        listed = {MANIFEST, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a damaged manifest lists only itself
        listed = {MANIFEST}
    for entry in sorted(folder.iterdir()):
        if entry.name == ENGINES and entry.is_dir() and not entry.is_symlink():
            for inner in sorted(entry.iterdir()):
                if inner.is_dir() and not inner.is_symlink():
                    if (unlisted := _first_unlisted(inner)) is not None:
                        return unlisted
                elif inner.suffix != ".timings":
                    return inner
        elif entry.is_dir() or (entry.name not in listed and not _is_made_again(entry)):
            return entry
    return None


def _is_made_again(file: Path) -> bool:
    """Returns whether a file is a plan, which can be built again, or the model card that `latentloop export --card`
    writes, or its picture, unless a user has edited or replaced it.
    """
    if file.suffix == ".plan":
        return True
    if file.name not in (CARD, CARD_PICTURE) or not file.is_file():
        return False
    with file.open("rb") as content:
        return is_unedited(content.read()) if file.name == CARD else SOFTWARE_TEXT in content.read(100)


def is_earlier_image(file: Path) -> bool:
    """Returns whether a file is named like the images of `latentloop sample` and marked as written by LatentLoop."""
    number = file.name.partition("-")[0].removesuffix(".png")
    if not (number.isdecimal() and len(number) >= 5 and file.suffix == ".png" and file.is_file()):
        return False
    with suppress(OSError), file.open("rb") as content:
        return SOFTWARE_TEXT in content.read(100)
    return False


def is_journal(file: Path) -> bool:
    """Returns whether a file is the journal of a run."""
    if file.name != JOURNAL or not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(100).startswith(b'{"format": "latentloop-')
