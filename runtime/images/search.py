"""Search for image files in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentloop.errors import listed, printable
from latentloop.images.idx import has_idx_name
from latentloop.images.problems import Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")

# Folders in which operating systems keep thumbnails, resource forks and deleted files, in lower case.
_SYSTEM_FOLDERS = frozenset(
    ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")
)


@dataclass
class SearchResult:
    """Files expected to be images, whether or not they can be read, and everything else of interest in the folders."""

    files: list[Path] = field(default_factory=list)
    idx_files: list[Path] = field(default_factory=list)  # many images in each; found in folders
    problems: list[Problem] = field(default_factory=list)  # folders without images, or that cannot be searched
    folder_links: list[Path] = field(default_factory=list)  # links to folders, not followed
    unsearched: list[Path] = field(default_factory=list)  # sub-folders, if only the folder itself was searched
    broken_links: list[Path] = field(default_factory=list)  # without an image's suffix: perhaps links to folders

    @property
    def notes(self) -> list[str]:
        """Lines for the user about links that were ignored."""
        not_followed = "not followed, name the folder itself to have its images"
        kinds = (
            (self.folder_links, "a link to a folder is", "links to folders are", not_followed),
            (self.broken_links, "a broken link is", "broken links are", "ignored"),
        )
        return [
            f"{one if len(links) == 1 else f'{len(links)} {several}'} {fate}: {listed(map(printable, links))}"
            for links, one, several, fate in kinds
            if links
        ]


def find_images(paths: Sequence[Path]) -> SearchResult:
    """Returns ``paths`` with each folder replaced by the images in and below it, sorted by their relative paths; IDX
    files with MNIST's names are among them.

    Other paths remain as they are, whether or not they exist or can be read: reading them reports problems.
    """
    result = SearchResult()
    for path in paths:
        if not os.path.isdir(path):
            result.files.append(path)
            continue
        inside = search_folder(path, below=True)
        found = sorted((*inside.files, *inside.idx_files))
        result.files += found
        result.problems += inside.problems
        result.folder_links += inside.folder_links
        result.broken_links += inside.broken_links
        if not found and not inside.problems:
            result.problems.append(Problem(path, f"holds no images, expected files ending in {', '.join(SUFFIXES)}"))
    return result


def search_folder(folder: Path, *, below: bool) -> SearchResult:
    """Returns the images in a folder, and in its sub-folders if ``below``, sorted by their relative paths.

    Ignores hidden files and folders, and folders that operating systems add. Follows links to files.
    """
    result = SearchResult()
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            result.problems.append(Problem(current, f"cannot be searched: {error.strerror or error}"))
            continue
        for entry in entries:
            path = current / entry.name
            if is_ignored(entry.name):
                continue
            if os.path.isdir(entry):  # entry.is_dir() raises for a link to itself
                if entry.is_symlink():
                    result.folder_links.append(path)
                else:
                    (folders if below else result.unsearched).append(path)
            elif path.suffix.lower() in SUFFIXES:
                result.files.append(path)
            elif has_idx_name(entry.name):
                if not (entry.name.endswith(".gz") and path.with_suffix("").exists()):  # the same images
                    result.idx_files.append(path)
            elif entry.is_symlink() and not os.path.exists(entry):
                result.broken_links.append(path)
    for paths in (result.files, result.folder_links, result.unsearched, result.broken_links):
        paths.sort()
    return result


def is_ignored(name: str) -> bool:
    """Returns whether a file or folder of that name is hidden, or added by an operating system."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS
