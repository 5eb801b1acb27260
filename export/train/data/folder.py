"""A folder of images: one sub-folder per class, or a flat folder without labels.

A folder may also hold two such folders of classes, ``train`` and ``test``, as data sets for torchvision do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError
from latentloop.images.problems import raise_for, shown, some
from latentloop.images.search import SUFFIXES, Found, is_companion, search

PARTS = ("train", "test")

Listed = tuple[list[Path], NDArray[np.int64] | None, tuple[str, ...]]


def split_folders(folder: Path) -> tuple[Path, Path] | None:
    """The sub-folders ``train`` and ``test`` where both hold folders in turn; otherwise they are classes, if there.

    Raises InputError where ``train`` holds nothing but folders, and ``test`` none.
    """
    training, test = (folder / name for name in PARTS)
    nested = [part.is_dir() and bool(_classes(part)) for part in (training, test)]
    if nested == [True, False] and not _images_in(training):
        found = "holds no class folders" if test.is_dir() else "is missing"
        raise InputError(
            f"{test} {found}, expected the classes that train/ beside it holds: add them, or give {training} as the"
            " data, of which a part is held out"
        )
    return (training, test) if all(nested) else None


def list_parts(training: Path, test: Path) -> tuple[Listed, Listed]:
    """``list_images`` of two folders. Raises InputError unless their classes have the same names."""
    listed = list_images(training), list_images(test)
    names, others = (set(part[2]) for part in listed)
    if names != others:
        told = [
            f"{', '.join(sorted(left)[:10])} only in {part.name}"
            for left, part in ((names - others, training), (others - names, test))
            if left
        ]
        raise InputError(f"{training.parent}: expected the same classes in train and test, found {' and '.join(told)}")
    return listed


def list_images(folder: Path) -> Listed:
    """Image files in sorted order, their labels [N] int64 (None for a flat folder) and the class names.

    Raises InputError for a folder without images, a class without images, or images beside class folders.
    """
    flat = _images_in(folder)
    classes = _classes(folder)
    if flat and classes:
        raise InputError(
            f"{folder}: holds both images ({flat[0].name}) and sub-folders ({classes[0].name}); expected"
            " either one sub-folder per class or a flat folder"
        )
    if not classes:
        if not flat:
            raise InputError(f"{folder}: no images; expected files ending in {', '.join(SUFFIXES)}")
        return flat, None, ()
    files: list[Path] = []
    labels: list[int] = []
    deeper: list[Path] = []
    for label, path in enumerate(classes):
        found = _search(path)
        if not found.files:
            raise InputError(f"{path}: a class folder without images directly inside; add some or remove it")
        files += found.files
        labels += [label] * len(found.files)
        deeper += found.unsearched + found.links
    _tell_of(folder, deeper)
    return files, np.array(labels, np.int64), tuple(path.name for path in classes)


def _images_in(folder: Path) -> list[Path]:
    return _search(folder).files


def _search(folder: Path) -> Found:
    found = search(folder, below=False)
    raise_for(found.problems, len(found.problems))
    if found.lost:  # perhaps a class
        print(f"{folder}: links to nothing are passed over: {some(map(shown, found.lost))}", file=sys.stderr)
    return found


def _tell_of(folder: Path, deeper: Sequence[Path]) -> None:
    """Says how many images the folders ``deeper`` hold, sub-folders of classes, which are passed over."""
    found = [search(path, below=True) for path in deeper]
    holders = [path for path, inside in zip(deeper, found, strict=True) if inside.files or inside.problems]
    if holders:
        count = sum(len(inside.files) for inside in found)
        those = (
            "1 image in a sub-folder of a class is" if count == 1 else f"{count} images in sub-folders of classes are"
        )
        print(
            f"{folder}: {those} passed over, only those directly inside a class are read: {some(map(shown, holders))}",
            file=sys.stderr,
        )


def _classes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_companion(path.name))
