"""A folder of images: one sub-folder per class, or a flat folder without labels.

A folder can also contain two folders with the same classes, ``train`` and ``test``, as data sets for torchvision do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError, listed, printable
from latentloop.images.problems import raise_for
from latentloop.images.search import SUFFIXES, SearchResult, is_ignored, search_folder

PARTS = ("train", "test")

Listing = tuple[list[Path], NDArray[np.int64] | None, tuple[str, ...]]  # image files, labels, class names


def split_folders(folder: Path) -> tuple[Path, Path] | None:
    """Returns the sub-folders ``train`` and ``test`` if both contain folders of classes, otherwise None: then folders
    with these names are classes themselves.

    Raises InputError if ``train`` contains only folders and ``test`` is missing or contains no folder.
    """
    training, test = (folder / name for name in PARTS)
    nested = [part.is_dir() and bool(_classes(part)) for part in (training, test)]
    if nested == [True, False] and not _search(training).files:
        reason = "contains no class folders" if test.is_dir() else "is missing"
        raise InputError(
            f"{test} {reason}, expected the same classes as in train/: add them, or pass {training} as the data; then"
            " a part of it is held out"
        )
    return (training, test) if all(nested) else None


def list_parts(training: Path, test: Path) -> tuple[Listing, Listing]:
    """Returns ``list_images`` of both folders. Raises InputError unless their classes have the same names."""
    listings = list_images(training), list_images(test)
    training_names, test_names = (set(names) for _, _, names in listings)
    if training_names != test_names:
        differences = [
            f"{', '.join(sorted(extra)[:10])} only in {folder.name}"
            for extra, folder in ((training_names - test_names, training), (test_names - training_names, test))
            if extra
        ]
        difference = " and ".join(differences)
        raise InputError(f"{training.parent}: expected the same classes in train and test, found {difference}")
    return listings


def list_images(folder: Path, *, report: bool = True) -> Listing:
    """Returns image files in sorted order, their labels [N] int64 (None for a flat folder) and the class names. With
    ``report`` prints what it ignored.

    Raises InputError for a folder without images, a class without images, or images beside class folders.
    """
    flat = _search(folder, report=report).files
    classes = _classes(folder)
    if flat and classes:
        raise InputError(
            f"{folder}: contains both images ({flat[0].name}) and sub-folders ({classes[0].name}); expected"
            " either one sub-folder per class or a flat folder"
        )
    if not classes:
        if not flat:
            raise InputError(f"{folder}: no images; expected files ending in {', '.join(SUFFIXES)}")
        return flat, None, ()
    files: list[Path] = []
    labels: list[int] = []
    sub_folders: list[Path] = []
    for label, path in enumerate(classes):
        content = _search(path, report=report)
        if not content.files:
            raise InputError(f"{path}: a class folder without images directly inside; add images or remove the folder")
        files += content.files
        labels += [label] * len(content.files)
        sub_folders += content.unsearched + content.folder_links
    if report:
        _report_ignored(folder, sub_folders)
    return files, np.array(labels, np.int64), tuple(path.name for path in classes)


def _search(folder: Path, *, report: bool = True) -> SearchResult:
    content = search_folder(folder, below=False)
    raise_for(content.problems, len(content.problems))
    if content.broken_links and report:  # perhaps a class
        print(f"{folder}: ignored broken links: {listed(map(printable, content.broken_links))}", file=sys.stderr)
    return content


def _report_ignored(folder: Path, sub_folders: Sequence[Path]) -> None:
    """Prints how many images the sub-folders of classes contain, and that these images are ignored."""
    contents = [search_folder(path, below=True) for path in sub_folders]
    with_images = [path for path, c in zip(sub_folders, contents, strict=True) if c.files or c.problems]
    if with_images:
        count = sum(len(content.files) for content in contents)
        images = "1 image in a sub-folder of a class" if count == 1 else f"{count} images in sub-folders of classes"
        print(
            f"{folder}: ignored {images}; only images directly inside a class folder are read:"
            f" {listed(map(printable, with_images))}",
            file=sys.stderr,
        )


def _classes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name))
