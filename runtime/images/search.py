"""The image files of folders: what is searched, what is passed over, and in which order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentloop.images.problems import Problem, shown, some

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")

# Folders in which other systems keep thumbnails, resource forks and deleted files, in lower case.
_COMPANIONS = frozenset(
    ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")
)


@dataclass
class Found:
    """Files that should be images, whether or not they can be read, and what else a search came across."""

    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # folders that give no image
    links: list[Path] = field(default_factory=list)  # to folders
    unsearched: list[Path] = field(default_factory=list)  # folders below, where they do not count
    lost: list[Path] = field(default_factory=list)  # links to nothing, without an image's name: perhaps to folders

    @property
    def notes(self) -> list[str]:
        """What to tell of the links that are passed over, a line each."""
        lines = []
        if self.links:
            those = "a link to a folder is" if len(self.links) == 1 else f"{len(self.links)} links to folders are"
            names = some(map(shown, self.links))
            lines.append(f"{those} not followed, name the folder itself to have its images: {names}")
        if self.lost:
            those = "a link to nothing is" if len(self.lost) == 1 else f"{len(self.lost)} links to nothing are"
            lines.append(f"{those} passed over: {some(map(shown, self.lost))}")
        return lines


def find(paths: Sequence[Path]) -> Found:
    """What ``paths`` mean: a folder stands for the images in and below it, sorted by their relative paths.

    Whether the files can be read is seen when they are: a path that is not there is one of them.
    """
    found = Found()
    for path in paths:
        if not os.path.isdir(path):
            found.files.append(path)
            continue
        inside = search(path, below=True)
        found.files += inside.files
        found.problems += inside.problems
        found.links += inside.links
        found.lost += inside.lost
        if not inside.files and not inside.problems:
            found.problems.append(Problem(path, f"holds no images, expected files ending in {', '.join(SUFFIXES)}"))
    return found


def search(folder: Path, *, below: bool) -> Found:
    """The images of a folder, with those ``below`` it or without, sorted by their relative paths.

    Hidden files and folders, and folders that other systems add, are passed over. Links to files are followed.
    """
    found = Found()
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            found.problems.append(Problem(current, f"cannot be searched: {error.strerror or error}"))
            continue
        for entry in entries:
            path = current / entry.name
            if is_companion(entry.name):
                continue
            if os.path.isdir(entry):  # unlike the entry's own method never an error, as for a link to itself
                if entry.is_symlink():
                    found.links.append(path)
                else:
                    (folders if below else found.unsearched).append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.files.append(path)
            elif entry.is_symlink() and not os.path.exists(entry):
                found.lost.append(path)
    for paths in (found.files, found.links, found.unsearched, found.lost):
        paths.sort()
    return found


def is_companion(name: str) -> bool:
    """Whether a file or folder of that name is one that file managers hide, and that holds no picture of its own."""
    return name.startswith(".") or name.lower() in _COMPANIONS
